// Where the app listens.
export const BACKEND = { http: 8080, echo: 9000, banner: 9010, counter: 9020 } as const;
/** UDP: echoes, answers names, echoes undeclared. */
export const DATAGRAMS = { echo: 5140, names: 53, undeclared: 5999 } as const;
/** Declared, and nobody listens there. */
export const NOBODY = 8090;
/** On host c, without an agent: answers, answers 500, and nobody. */
export const OUTSIDE = { fine: 7001, failing: 7002, nobody: 7003 } as const;
export const UID = {
  agent: 62_400,
  backend: 62_401,
  client: 62_402,
  /** A process of no workload. */
  stranger: 62_403,
  outside: 62_404,
  /** Serves datagrams on b. */
  datagrams: 62_405,
  server: 62_410,
} as const;
