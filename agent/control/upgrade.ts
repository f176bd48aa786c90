// An upgrade in place, step by step; os/successor.ts draws it. This side is the old agent's:
//
//   serving --run()--> paused: no session, nothing written to disk --the new one serves--> handed over: drains, then ends
//                          \--it does not--> serving, as before
import type { Log } from "../base/log.ts";
import { err, type Result } from "../base/result.ts";
import type { KeptDescriptor } from "../os/notify.ts";

export interface UpgradeConfig {
  /** What the agent was started with, behind the executable's name. */
  readonly words: readonly string[];
  /** How long connections may live on in the old process. */
  readonly drainLimitMs: number;
}

export interface UpgradeDeps {
  start(
    words: readonly string[],
    sockets: readonly KeptDescriptor[],
    withinMs: number,
  ): Promise<Result<number, string>>;
  /** Every listening socket of this process. */
  sockets(): Promise<readonly KeptDescriptor[]>;
  /** Ends the talk with the server and all writing to the state directory; the data path goes on. */
  pause(): Promise<void>;
  resume(): void;
  /** The successor, by its process id, has what is not a connection: answers no more queries, renews no lease. */
  release(pid: number): void;
  /** Resolves when the last connection has ended. */
  drain(limitMs: number): Promise<void>;
  wait(ms: number): Promise<void>;
  readonly log: Log;
}

/** The new process loads, compiles if its version is another, applies the redirect. */
const SERVES_WITHIN_MS = 30_000;
/** Names that were asked for are answered yet (RESOLVER_TIMEOUT_MS, three resolvers). */
const LINGER_MS = 6_000;

export class Upgrade {
  readonly #config: UpgradeConfig;
  readonly #deps: UpgradeDeps;
  readonly #over = Promise.withResolvers<void>();
  #state: "none" | "under_way" | "done" = "none";

  constructor(config: UpgradeConfig, deps: UpgradeDeps) {
    this.#config = config;
    this.#deps = deps;
  }

  /** Another process answers for this host. */
  get isDone(): boolean {
    return this.#state === "done";
  }

  /** Resolves when nothing is left for this process to do; never without an upgrade. */
  get over(): Promise<void> {
    return this.#over.promise;
  }

  /** Resolves to the successor's process id, or to why there is none. */
  async run(): Promise<Result<number, string>> {
    if (this.#state !== "none") return err("an upgrade is under way already, or done");
    this.#state = "under_way";
    const { log } = this.#deps;
    const outcome = await this.#try().catch((cause: unknown) =>
      err(cause instanceof Error ? cause.message : "unknown"),
    );
    if (outcome.ok) {
      this.#state = "done";
      log.info("a new process serves in place of this one, which ends with its last connection", {
        pid: outcome.value,
        limitSeconds: this.#config.drainLimitMs / 1_000,
      });
      void this.#handOver(outcome.value);
      return outcome;
    }
    this.#state = "none";
    this.#deps.resume();
    log.error("the upgrade failed and this process goes on", { reason: outcome.error });
    return outcome;
  }

  async #try(): Promise<Result<number, string>> {
    await this.#deps.pause();
    const sockets = await this.#deps.sockets();
    return this.#deps.start(this.#config.words, sockets, SERVES_WITHIN_MS);
  }

  async #handOver(pid: number): Promise<void> {
    const { release, drain, wait, log } = this.#deps;
    release(pid);
    await Promise.all([drain(this.#config.drainLimitMs), wait(LINGER_MS)]);
    log.info("nothing is left with this process", { successor: pid });
    this.#over.resolve();
  }
}
