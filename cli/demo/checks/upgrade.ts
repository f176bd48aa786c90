// Step 10: every agent is upgraded in place, one after the other, while pages are asked for: a new file, a new process, and nobody
// notices. The old processes answer what they hold and end.
import { statSync } from "node:fs";
import { adminSocketOf, agentStatus, isAgentReady } from "../agents.ts";
import { isRunning } from "../daemon.ts";
import { type DemoHost, HOSTS, hostOf, namespaceOf, UID } from "../layout.ts";
import { until } from "../until.ts";
import { untilWholePage } from "../whole-page.ts";
import { type CheckContext, holds, isOnly, type Step, shown } from "./step.ts";
import { underLoad } from "./under-load.ts";
import { Watch } from "./watch.ts";

/** Long enough for five upgrades and the load's end, so that the echo's one connection lives on; times slack. */
const DRAIN_LIMIT_S = 15;
const GIVES_UP_MS = 15_000;
/** The load goes on for as long after the last upgrade: a client learns that its idle connection ends when it uses it once more. */
const USED_ONCE_MORE_MS = 2_000;
const METRICS = { host: "127.0.0.1", port: 15020, path: "/healthz/ready" };
const web = hostOf("productpage");

/** While the agents were down (here, and in step 9), names of the mesh were none to the host's own resolver. A program's runtime may
 *  remember that: the bookstore's gives it to one more who asks, where nobody had waited for it. That is over before the load begins:
 *  this step is about upgrades. */
async function untilForgotten(url: string): Promise<string> {
  const missed = await untilWholePage("a whole page", url, GIVES_UP_MS);
  holds(missed <= 1, () => `${missed} pages were not whole once all agents were ready`);
  return missed === 0 ? "" : "one page not whole before the load, by what a program remembered; ";
}

export const upgrade: Step = {
  number: 10,
  claim: "every agent is upgraded in place under load and no request fails",
  async run(context) {
    const { demo, say, slack } = context;
    const limitS = Math.ceil(DRAIN_LIMIT_S * slack);
    say("agents with a short drain limit, and a new executable");
    demo.agentOptions = ["--upgrade-drain-seconds", `${limitS}`];
    await Promise.all(HOSTS.map((host) => demo.agentOn(host).stop("SIGTERM")));
    await Promise.all(HOSTS.map((host) => demo.agentOn(host).start()));
    demo.agentOptions = [];
    await until("every agent", GIVES_UP_MS, async () =>
      (await Promise.all(HOSTS.map(isAgentReady))).every(Boolean),
    );
    const remembered = await untilForgotten(context.url);
    await demo.lab.replaceExecutable();
    const old: number[] = [];
    const areGone = (): Promise<void> =>
      until("the old processes' end", (limitS + 5) * 1_000, () =>
        Promise.resolve(!old.some(isRunning)),
      );
    const figures = await underLoad(context, () => upgradeAll(context, old)).catch(
      async (cause) => {
        await areGone().catch(() => {}); // what failed here is no failure of the next step
        throw cause;
      },
    );
    const endedMs = Date.now();
    say("the old processes end");
    await areGone();
    const leftMs = Date.now() - endedMs;
    return `${remembered}${figures}; the last old process was gone ${(leftMs / 1_000).toFixed(1)} s after the load (limit ${limitS} s from its upgrade)`;
  },
};

/** Fills `old` with the processes that are being left. */
async function upgradeAll(context: CheckContext, old: number[]): Promise<string> {
  const metrics = await Watch.start(context, web, UID.bystander, METRICS);
  const admin = new AdminWatch(web);
  const tookMs: number[] = [];
  try {
    for (const host of HOSTS) {
      context.say(`meshctl upgrade on ${host.name}`);
      const startedMs = performance.now();
      old.push(await upgradeOne(context, host));
      tookMs.push(performance.now() - startedMs);
    }
    await new Promise((resolve) => setTimeout(resolve, USED_ONCE_MORE_MS));
  } finally {
    await metrics.stop();
    await admin.stop();
  }
  const asked = metrics.attempts.length;
  holds(isOnly(metrics.outcomes, "200", asked), () => `health checks: ${shown(metrics.outcomes)}`);
  holds(
    admin.failed === 0,
    () => `the admin socket failed ${admin.failed} of ${admin.asked} times`,
  );
  return `${old.length} agents upgraded, the slowest in ${Math.round(Math.max(...tookMs))} ms; meanwhile ${asked} health checks and ${admin.asked} questions to the admin socket, 0 failed`;
}

/** Returns the process that is left behind. */
async function upgradeOne({ demo }: CheckContext, host: DemoHost): Promise<number> {
  const before = await agentStatus(host);
  const command = demo.lab.meshctl("upgrade", "--admin", adminSocketOf(host));
  const ran = await demo.lab.run(namespaceOf(host), command, { uid: UID.agent, timeoutMs: 60_000 });
  holds(ran.code === 0, () => `meshctl upgrade on ${host.name}: ${ran.stderr}`);
  const after = await agentStatus(host);
  if (before === undefined || after === undefined)
    throw new Error(`the agent on ${host.name} does not answer`);
  holds(after.pid !== before.pid, () => `${host.name} still has process ${before.pid}`);
  holds(
    fileOf(after.pid) !== fileOf(before.pid),
    () => `${host.name} runs the old file in its new process`,
  );
  holds(
    after.version === before.version && after.redirect.isApplied,
    () =>
      `${host.name} serves version ${after.version} after its upgrade, before ${before.version}`,
  );
  demo.agentOn(host).follow(after.pid);
  return before.pid;
}

/** Which file a process runs. */
function fileOf(pid: number): string {
  const { dev, ino } = statSync(`/proc/${pid}/exe`);
  return `${dev} ${ino}`;
}

/** Asks an agent's admin socket again and again. */
class AdminWatch {
  asked = 0;
  failed = 0;
  #isStopped = false;
  readonly #done: Promise<void>;

  constructor(host: DemoHost) {
    this.#done = this.#run(host);
  }

  async #run(host: DemoHost): Promise<void> {
    while (!this.#isStopped) {
      this.asked += 1;
      if ((await agentStatus(host)) === undefined) this.failed += 1;
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }

  stop(): Promise<void> {
    this.#isStopped = true;
    return this.#done;
  }
}
