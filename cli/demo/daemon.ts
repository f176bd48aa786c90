// A long-lived process of the mesh as the service manager of its host would hold it: started, stopped, started again when it died.
import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";

/** How long an end that was asked for may take: the longest drain and a little. */
const ENDS_WITHIN_MS = 15_000;
const LOOKS_EVERY_MS = 2;

export class Daemon {
  readonly #spawn: () => ChildProcess | Promise<ChildProcess>;
  #pid: number | undefined;

  /** `spawn`: its pid must be the program's own. */
  constructor(spawn: () => ChildProcess | Promise<ChildProcess>) {
    this.#spawn = spawn;
  }

  /** Undefined before the first start. */
  get pid(): number | undefined {
    return this.#pid;
  }

  /** Returns when it was started, by the machine's clock: it serves later. */
  async start(): Promise<number> {
    const startedAtMs = Date.now();
    this.#pid = (await this.#spawn()).pid;
    return startedAtMs;
  }

  /** It goes on as that process. */
  follow(pid: number): void {
    this.#pid = pid;
  }

  /** kill -9, and started again as soon as it is gone, as systemd does with Restart=always. By the machine's clock. */
  async crash(): Promise<{ readonly killedAtMs: number; readonly goneAtMs: number }> {
    const killedAtMs = await this.stop("SIGKILL");
    const goneAtMs = Date.now();
    await this.start();
    return { killedAtMs, goneAtMs };
  }

  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    if (this.#pid !== undefined) process.kill(this.#pid, signal);
  }

  /** Ends it; it stays away until start(). Resolves, once it is gone, to when it was told, by the machine's clock. */
  async stop(signal: "SIGTERM" | "SIGKILL"): Promise<number> {
    const pid = this.#pid;
    if (pid === undefined) throw new Error("it does not run");
    const toldAtMs = Date.now();
    process.kill(pid, signal);
    while (isRunning(pid)) {
      if (Date.now() - toldAtMs > ENDS_WITHIN_MS)
        throw new Error(`process ${pid} did not end by ${signal} within ${ENDS_WITHIN_MS} ms`);
      await new Promise((resolve) => setTimeout(resolve, LOOKS_EVERY_MS));
    }
    return toldAtMs;
  }
}

/** A zombie runs no more, whenever its parent looks. */
export function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false;
  }
}
