// All that the checks go by, read at one time (read-facts.ts). What could not be looked at says why; a check tells that instead
// of passing it over.
import type { AgentCertificate, AgentStatus } from "../../agent/api/admin.ts";
import type { MembersAnswer } from "../../agent/api/gossip.ts";
import type { JoinToken } from "../../agent/api/session.ts";
import type { Result } from "../../agent/base/result.ts";
import type { Snapshot } from "../../agent/policy/snapshot.ts";
import type { AgentOptions } from "../agent-options.ts";
import type { RedirectOutcome, RedirectTrial } from "../programs.ts";
import type { Unseen } from "./finding.ts";
import type { Firewall } from "./reading/firewall.ts";
import type { HostFacts, KernelFacts } from "./reading/host.ts";
import type { NamesFacts } from "./reading/names.ts";
import type { Process } from "./reading/processes.ts";
import type { ServerFacts } from "./reading/server.ts";
import type { Listening } from "./reading/sockets.ts";
import type { HostFiles } from "./reading/state.ts";
import type { Unit } from "./reading/units.ts";

export type Seen<T> = Result<T, Unseen>;

export interface AgentFacts {
  readonly status: AgentStatus;
  /** Undefined: it serves nothing yet. */
  readonly snapshot: Snapshot | undefined;
  readonly certificates: readonly AgentCertificate[];
  readonly members: MembersAnswer;
  /** Undefined: the kernel does not show this user the process. */
  readonly openFilesMax: number | undefined;
  readonly uid: number | undefined;
}

export interface Facts {
  readonly nowMs: number;
  readonly isRoot: boolean;
  readonly version: string;
  /** Those the agent runs with; if none runs, those it would. */
  readonly options: AgentOptions;
  readonly host: HostFacts;
  readonly kernel: KernelFacts;
  readonly processes: readonly Process[];
  readonly sockets: readonly Listening[];
  /** Undefined: nothing listens on its admin socket. */
  readonly agent: Seen<AgentFacts> | undefined;
  /** Undefined: no systemd here, or no units of ours. */
  readonly units: readonly Unit[] | undefined;
  /** Undefined: this host has not joined. */
  readonly files: Seen<HostFiles> | undefined;
  /** Of the join token that was given; its secret is not kept. */
  readonly token: Pick<JoinToken, "host" | "expiresAtMs"> | undefined;
  /** Empty: it is not known where a server is (no token, no files). */
  readonly servers: readonly ServerFacts[];
  readonly names: NamesFacts;
  readonly firewall: Seen<Firewall>;
  /** Compared with the plan; undefined: nothing is planned yet, see `trial`. */
  readonly redirect: Seen<RedirectOutcome> | undefined;
  /** How a redirect went in an empty network of its own; undefined: there is a real one to look at. */
  readonly trial: Seen<RedirectTrial> | undefined;
}

/** The pool's and the agent's own words where it answers. */
export const agentOf = ({ agent }: Facts): AgentFacts | undefined =>
  agent?.ok === true ? agent.value : undefined;
export const filesOf = ({ files }: Facts): HostFiles | undefined =>
  files?.ok === true ? files.value : undefined;
/** Joined, as far as can be known: files that may not be read are a member's. */
export const hasJoined = ({ files, agent }: Facts): boolean =>
  files !== undefined || agent !== undefined;
