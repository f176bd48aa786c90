// The host's redirect as an agent keeps it: the rules as each version wants them, and the lease by which names stay captured only while
// the agent lives.
import type { AgentStatus } from "../api/admin.ts";
import { MESH_PORT } from "../api/mesh-wire.ts";
import type { Timers } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { uidOf } from "../os/host-facts.ts";
import { DnsLease } from "../os/redirect/lease.ts";
import { hostRunner } from "../os/redirect/runner.ts";
import { readSlice } from "../os/redirect/slice.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import { type AgentOptions, DNS_PORT, HOST_LISTENER_PORT, INBOUND_PORT } from "./agent-options.ts";
import { RedirectKeeper } from "./redirect-keeper.ts";

export interface HostRedirectFacts {
  readonly hasIpv6: boolean;
  /** Whose port 53 is taken; none: names are not captured. */
  readonly resolvers: readonly string[];
}

export class HostRedirect {
  readonly #options: AgentOptions;
  readonly #facts: HostRedirectFacts;
  readonly #deps: { readonly timers: Timers; readonly log: Log };
  readonly #keeper: RedirectKeeper;
  #lease: DnsLease | undefined;
  /** Names too, where they are to be. */
  #isCapturing = false;

  constructor(
    options: AgentOptions,
    facts: HostRedirectFacts,
    deps: { readonly timers: Timers; readonly log: Log },
  ) {
    const { redirect, mode, excludeUids, excludeCidrs, excludePorts } = options;
    this.#options = options;
    this.#facts = facts;
    this.#deps = deps;
    this.#keeper = new RedirectKeeper(
      {
        ...facts,
        backend: redirect === "none" ? "auto" : redirect,
        mode,
        agentUid: process.getuid?.() ?? 0,
        hostListenerPort: HOST_LISTENER_PORT,
        inboundPort: INBOUND_PORT,
        meshPort: MESH_PORT,
        dnsPort: DNS_PORT,
        exclusions: { uids: excludeUids, cidrs: excludeCidrs, ports: excludePorts },
        sshPorts: [22],
      },
      { ...deps, runner: hostRunner(), owners: { uidOf, sliceOf: (name) => readSlice(name) } },
    );
  }

  get #isWanted(): boolean {
    return this.#options.redirect !== "none";
  }
  /** Everything that should be redirected is. */
  get isReady(): boolean {
    return !this.#isWanted || (this.#keeper.isApplied && this.#isCapturing);
  }
  get status(): AgentStatus["redirect"] {
    const { backend, isApplied, problem, missing } = this.#keeper;
    const { mode } = this.#options;
    return { backend: this.#isWanted ? backend : "none", mode, isApplied, problem, missing };
  }
  /** For who reads the service's status. */
  get summary(): string {
    return this.#keeper.problem ?? `redirect by ${this.#keeper.backend}`;
  }

  /** Resolves when the kernel is as this snapshot wants it, or when that failed and was told. */
  async follow(snapshot: Snapshot): Promise<void> {
    if (!this.#isWanted) return;
    const applied = await this.#keeper.follow(snapshot);
    if (applied.ok) await this.#startLease();
    else this.#deps.log.error("the redirect is not as it should be", { reason: applied.error });
  }

  async #startLease(): Promise<void> {
    const { plan } = this.#keeper;
    const { resolvers } = this.#facts;
    if (this.#lease !== undefined || plan === undefined) return;
    this.#lease = new DnsLease(
      { backend: plan.backend, resolvers },
      { ...this.#deps, runner: hostRunner() },
    );
    await this.#lease.start();
    this.#isCapturing = true;
  }

  /** The rules stay: they are what keeps traffic from going in plaintext while the agent is away. Names are ordinary again, unless
   *  somebody keeps our sockets for the next agent: then their capture goes on to this process's end and a second more. */
  async stop(areSocketsKept: boolean): Promise<void> {
    this.#keeper.stop();
    if (areSocketsKept) this.#lease?.outlive();
    else await this.#lease?.stop();
  }

  /** A successor keeps all of it. */
  handOver(): void {
    this.#keeper.stop();
    this.#lease?.release();
  }
}
