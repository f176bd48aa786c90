// What the agent's admin socket answers: JSON over HTTP on a unix socket that only its group may open. Read by `meshctl status`,
// `meshctl config` and scripts.

export const ADMIN_SOCKET = "/run/ironmesh/admin.sock";
export const METRICS_PORT = 15020;

export interface AgentStatus {
  readonly agentVersion: string;
  readonly host: string;
  readonly pid: number;
  readonly uptimeSeconds: number;
  /** Version of the snapshot in use; undefined before the first. */
  readonly epoch: number | undefined;
  readonly version: number | undefined;
  /** `disk`: the last good one, since start; `server`: pushed. */
  readonly snapshotFrom: "disk" | "server" | undefined;
  readonly server: {
    readonly url: string;
    readonly isConnected: boolean;
    readonly lastError: string | undefined;
  };
  readonly workers: number;
  /** Data threads that died or stalled and were replaced, since start. */
  readonly threadsReplaced: number;
  readonly openConnections: number;
  /** How small socket calls are made. */
  readonly io: "io_uring" | "epoll";
  readonly redirect: {
    readonly backend: string;
    readonly mode: string;
    readonly isApplied: boolean;
    readonly problem: string | undefined;
    /** Workloads whose user or slice this host does not have yet, a sentence each; absent: an older agent. */
    readonly missing?: readonly string[];
  };
  readonly problems: readonly string[];
}

export interface AgentCertificate {
  readonly identity: string;
  /** When this host got it, on its own wall clock. */
  readonly issuedAtMs: number;
  readonly notAfterMs: number;
}

/** A host name of endpoints, as this host knows it. */
export interface LookedUpName {
  readonly name: string;
  /** Somebody on this host used it of late, or it is not looked up. */
  readonly isUsed: boolean;
  /** Of the last good answer. */
  readonly addresses: readonly string[];
  /** What DNS_ROUND_ROBIN dials. */
  readonly first: string | undefined;
  /** Addresses that the answer had and that are not dialled, each with why. */
  readonly refused: readonly string[];
  /** Who gave that answer, for how long it was meant to hold, and how old it is; undefined: there was none. */
  readonly resolver: string | undefined;
  readonly ttlSeconds: number | undefined;
  readonly ageSeconds: number | undefined;
  /** Why there is no newer one; undefined: none is due. */
  readonly failure: string | undefined;
}

/** Paths: GET /status, /snapshot (policy/snapshot.ts Snapshot), /certs, /names (LookedUpName[]), /members (api/gossip.ts MembersAnswer), /metrics, /healthz/ready; PUT /access-log?mode=off|on|errors, /renew, and for tests /fault?thread=N&kind=throw|stall */
export const ADMIN_PATHS = {
  status: "/status",
  snapshot: "/snapshot",
  certificates: "/certs",
  names: "/names",
  metrics: "/metrics",
  members: "/members",
  /** GET, with an id behind it: api/decisions.ts DecisionAnswer. */
  decisions: "/decisions/",
  ready: "/healthz/ready",
  accessLog: "/access-log",
  /** Asks for new certificates now; answers how many: they come one after the other. */
  renew: "/renew",
  /** PUT: see `meshctl upgrade`. Answers with the new process's id once it serves. */
  upgrade: "/upgrade",
  /** Only of an agent that was started with --test-faults. */
  fault: "/fault",
} as const;
