// What the server tells a member of the gossip pool: the keys, and who else is one. Names and addresses come from here alone.

/** Agents: UDP and TCP, open between all hosts. */
export const GOSSIP_PORT = 15946;
/** Config servers: another one, since a server may share a host with an agent. */
export const SERVER_GOSSIP_PORT = 15947;
/** The config server's name in the pool; no host can have it. */
export const SERVER_MEMBER = "_config-server";
/** What an agent says in its hello when it takes part. */
export const SPEAKS_GOSSIP = "gossip/1";

export const GOSSIP_KEYS_MAX = 4;
export const GOSSIP_MEMBERS_MAX = 10_000;

export interface GossipPeer {
  readonly name: string;
  readonly address: string;
  readonly port: number;
}

export interface GossipView {
  /** base64 of 32 bytes; the first seals, all open. */
  readonly keys: readonly string[];
  readonly members: readonly GossipPeer[];
}

/** How one member sees another; times are this host's wall clock. */
export interface MemberReport {
  readonly name: string;
  readonly address: string;
  /** What the pool says; `unheard`: nothing yet. */
  readonly status: "alive" | "suspect" | "dead" | "left" | "unheard";
  readonly sinceMs: number | undefined;
  readonly incarnation: number;
  /** Whether this member sends no traffic there, by what it saw itself. */
  readonly isDown: boolean;
  readonly rttMs: number | undefined;
}
/** GET /v1/members on the server, GET /members on an agent's admin socket. */
export interface MembersAnswer {
  /** Whose view this is. */
  readonly observer: string;
  readonly members: readonly MemberReport[];
}
