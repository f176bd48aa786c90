// What an agent is started with, and what of its own is the same on every host.
import type { LogLevel } from "../base/log.ts";
import type { AccessLogMode } from "../observe/access-log.ts";

/** What proxy/config.ts says of the same names. */
export interface HttpOptions {
  readonly headersMax: number;
  readonly headerTimeoutMs: number;
  readonly bodyTimeoutMs: number;
}

export interface AgentOptions {
  readonly stateDir: string;
  readonly adminSocket: string;
  /** Group that may use the admin socket; undefined: the agent's own. */
  readonly adminGroup: string | undefined;
  readonly metricsAddress: string;
  readonly metricsPort: number;
  /** Data threads; 0: one for each core. */
  readonly workers: number;
  readonly redirect: "auto" | "iptables" | "nft" | "none";
  readonly mode: "declared" | "all";
  /** Whether port 53 towards the host's resolvers is taken. */
  readonly dns: boolean;
  readonly io: "auto" | "epoll";
  /** Whether mesh connections that this agent dials resume earlier sessions (record 28). Default auto. Never: two signatures more each. */
  readonly tlsResumption: "auto" | "never";
  readonly accessLog: AccessLogMode;
  readonly logLevel: LogLevel;
  /** Downstream connections of all threads together. */
  readonly connectionsMax: number;
  readonly http: HttpOptions;
  /** How long open requests and connections may take to end when the agent is told to stop; what is left then is cut.
   *  Default 10,000. Lower cuts slow answers at a restart; higher makes a restart wait for opaque connections, which never end
   *  on their own, and apps without the mesh meanwhile. */
  readonly drainTimeoutMs: number;
  /** How long connections may live on in an old process after an upgrade. Default 900,000, as Envoy's. Lower cuts what lives long;
   *  higher keeps more processes, each with its memory, where upgrades are frequent. */
  readonly upgradeDrainMs: number;
  /** What stood behind the executable's name: an upgrade starts with the same. */
  readonly words: readonly string[];
  readonly excludeUids: readonly number[];
  readonly excludeCidrs: readonly string[];
  readonly excludePorts: readonly number[];
  /** Whether the admin socket may make a data thread throw or stall. */
  readonly takesFaults: boolean;
}

export const AGENT_VERSION = process.env["IRONMESH_VERSION"] ?? "0.0.0-dev";
export const HOST_LISTENER_PORT = 15001;
export const INBOUND_PORT = 15006;
export const DNS_PORT = 15053;
