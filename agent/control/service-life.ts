// What the agent tells its service manager: that it is ready, how it is, that it still lives. The watchdog is fed by the main
// thread and only while every data thread's loop has turned since the last time: an agent that carries no traffic is not alive.
import type { Timer, Timers } from "../base/clock.ts";

export interface ServiceLifeDeps {
  /** One message to the manager; see agent/os/notify.ts. */
  tell(assignments: readonly string[]): void;
  readonly timers: Timers;
  readonly threads: {
    /** From now on every data thread owes a sign of life. */
    ask(): void;
    /** Each has given it. */
    readonly areAnswering: boolean;
  };
}

/** Questions within one watchdog period: a thread may miss two of them before the manager ends the process. */
const ASKS_PER_PERIOD = 4;
const STATUS_LENGTH_MAX = 200;

export class ServiceLife {
  readonly #everyMs: number | undefined;
  readonly #deps: ServiceLifeDeps;
  #timer: Timer | undefined;
  #status = "";

  /** `watchdogMs`: the manager's period; undefined: it does not watch. */
  constructor({ watchdogMs }: { readonly watchdogMs: number | undefined }, deps: ServiceLifeDeps) {
    this.#everyMs = watchdogMs === undefined ? undefined : watchdogMs / ASKS_PER_PERIOD;
    this.#deps = deps;
  }

  /** The period begins: a start counts as a sign of life, and its own length is the manager's TimeoutStartSec. */
  ready(): void {
    this.#deps.tell(["READY=1"]);
    if (this.#everyMs !== undefined) this.#watch(this.#everyMs);
  }

  /** Shown by `systemctl status`; told only when it changes. */
  status(text: string): void {
    const line = text.replaceAll(/[\r\n]/g, " ").slice(0, STATUS_LENGTH_MAX);
    if (line === this.#status) return;
    this.#status = line;
    this.#deps.tell([`STATUS=${line}`]);
  }

  /** `withinMs`: how long the end may take, which may be longer than the unit says. The watchdog is fed until then. */
  stopping(withinMs: number): void {
    this.#deps.tell(["STOPPING=1", `EXTEND_TIMEOUT_USEC=${Math.ceil(withinMs) * 1_000}`]);
  }

  end(): void {
    this.#timer?.cancel();
  }

  #watch(everyMs: number): void {
    if (this.#deps.threads.areAnswering) this.#deps.tell(["WATCHDOG=1"]);
    this.#deps.threads.ask();
    this.#timer = this.#deps.timers.after(everyMs, () => this.#watch(everyMs));
  }
}
