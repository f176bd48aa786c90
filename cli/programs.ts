// The halves of the executable that live outside cli/: what the CLI asks of them. main.ts wires them in; each loads only when it
// runs. Shapes are said here because cli/ may not import the agent's or the registry's wiring.
import type { AgentOptions } from "./agent-options.ts";

export interface ServerOptions {
  readonly stateDir: string;
  readonly listen?: string;
  readonly advertise?: readonly string[];
  readonly trustDomain?: string;
  readonly outboundPolicy?: "allow_any" | "registry_only";
  readonly isNewEpoch?: boolean;
  readonly certificateLifetimeMs?: number;
  readonly registry?: "embedded" | "consul";
  readonly consulAddress?: string;
  readonly consulTokenFile?: string;
  readonly consulCaFile?: string;
  readonly logLevel?: "error" | "warn" | "info" | "debug";
}

export type JoinOutcome =
  | { readonly ok: true; readonly value: { readonly host: string; readonly trustDomain: string } }
  | { readonly ok: false; readonly error: { readonly message: string; readonly next: string } };

/** One sentence when it cannot be done; else lines to show. `differences`: the host is not as planned. */
export type RedirectOutcome =
  | { readonly is: "failed"; readonly reason: string }
  | { readonly is: "done"; readonly text: string }
  | { readonly is: "differences"; readonly lines: readonly string[] };
export type RedirectVerb = "plan" | "apply" | "status" | "remove";

/** What came of a redirect like the agent's in an empty network namespace: this host's own rules were not touched. */
export type RedirectTrial =
  | { readonly is: "works"; readonly backend: string }
  | { readonly is: "fails"; readonly reason: string }
  /** No such network could be made. */
  | { readonly is: "not_tried"; readonly reason: string };

export interface Programs {
  /** Each resolves when it was stopped. */
  agent(options: AgentOptions): Promise<void>;
  server(options: ServerOptions): Promise<number>;
  join(token: string, stateDir: string): Promise<JoinOutcome>;
  /** `isBoot`: before the host's network is up, so that its addresses say nothing yet. */
  redirect(verb: RedirectVerb, options: AgentOptions, isBoot?: boolean): Promise<RedirectOutcome>;
  tryRedirect(options: AgentOptions): Promise<RedirectTrial>;
  /** Why an agent with these options could not run on this host, and what to do; undefined: nothing is known against it. */
  refuseHost(options: AgentOptions): Promise<string | undefined>;
}
