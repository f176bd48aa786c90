// Where the app listens.
export const BACKEND = { http: 8080, echo: 9000, banner: 9010, counter: 9020 } as const;
/** UDP: echoes, answers names, echoes undeclared. */
export const DATAGRAMS = { echo: 5140, names: 53, undeclared: 5999 } as const;
/** HTTPS that apps on b terminate themselves, two versions of one service; and one on c, outside of the mesh. */
export const SECURE = { one: 9443, two: 9444, outside: 9445 } as const;
/** Servers that nobody here wrote, on b and, without an agent, on c. */
export const PEERS = {
  postgres: 5432,
  redis: 6379,
  mariadb: 3306,
  mariadbExtra: 3316,
  sshd: 2222,
  grpc: 50_051,
  chat: 8_100,
} as const;
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
  /** Two versions of a service that terminates TLS itself, on b. */
  secureOne: 62_406,
  secureTwo: 62_407,
  server: 62_410,
  /** Servers of peers.test.ts, on b and c. */
  postgres: 62_411,
  redis: 62_412,
  mariadb: 62_413,
  sshd: 62_414,
  grpc: 62_415,
  chat: 62_416,
} as const;
