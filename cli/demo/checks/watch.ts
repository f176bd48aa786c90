// A watch inside a host while something happens to it: what was seen, and how long nothing came.
import { createInterface } from "node:readline";
import { type DemoHost, namespaceOf, type ROUTER } from "../layout.ts";
import type { Attempt, WatchConfig } from "../parts/watch.ts";
import { partCommand } from "../programs.ts";
import { until } from "../until.ts";
import type { CheckContext } from "./step.ts";

const EVERY_MS = 50;
/** Far beyond what anything here may take: who waits so long was left hanging. */
const TIMEOUT_MS = 5_000;

export class Watch {
  /** In order of their ends. */
  readonly attempts: Attempt[] = [];
  readonly #stop: () => Promise<void>;

  private constructor(stop: () => Promise<void>) {
    this.#stop = stop;
  }

  /** GETs as that user; resolves once the first attempt has ended. */
  static async start(
    { demo: { lab } }: CheckContext,
    where: DemoHost | typeof ROUTER,
    uid: number,
    to: { readonly host: string; readonly port: number; readonly path: string },
  ): Promise<Watch> {
    const authority = `${to.host.includes(":") ? `[${to.host}]` : to.host}:${to.port}`;
    const config: WatchConfig = { ...to, authority, everyMs: EVERY_MS, timeoutMs: TIMEOUT_MS };
    const namespace = typeof where === "string" ? where : namespaceOf(where);
    const child = lab.spawn(namespace, partCommand(lab, "watch", config), { uid, stdio: "pipe" });
    const { stdout } = child;
    if (stdout === null) throw new Error("the watch has no output");
    const lines = createInterface({ input: stdout });
    const ended = new Promise<void>((resolve) => lines.once("close", () => resolve()));
    const watch = new Watch(async () => {
      child.kill("SIGTERM");
      await ended;
    });
    lines.on("line", (line) => watch.attempts.push(JSON.parse(line) as Attempt));
    await until("the first attempt", 5_000, () => Promise.resolve(watch.attempts.length > 0));
    return watch;
  }

  /** No more attempts begin; resolves when the last has ended. */
  stop(): Promise<void> {
    return this.#stop();
  }

  /** When the first attempt that began at `sinceMs` or later came back with this; the machine's clock. */
  firstAt(outcome: string, sinceMs: number): number | undefined {
    const found = this.attempts.filter(([began, , how]) => began >= sinceMs && how === outcome);
    return found.length === 0 ? undefined : Math.min(...found.map(([, ended]) => ended));
  }

  /** Waits for that. */
  async untilSeen(outcome: string, sinceMs: number, withinMs: number): Promise<number> {
    let at: number | undefined;
    await until(
      `an answer of ${outcome}`,
      withinMs,
      () => {
        at = this.firstAt(outcome, sinceMs);
        return Promise.resolve(at !== undefined);
      },
      () => this.attempts.at(-1)?.[2] ?? "nothing",
    );
    return at ?? 0;
  }

  /** How many attempts ended how. */
  get outcomes(): { readonly [what: string]: number } {
    const counts: { [what: string]: number } = {};
    for (const [, , how] of this.attempts) counts[how] = (counts[how] ?? 0) + 1;
    return counts;
  }
}
