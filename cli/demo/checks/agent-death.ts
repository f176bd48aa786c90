// Step 9: an agent dies in the middle of traffic. What it carries is back within a second, what it never carried does not notice, and
// nothing of ours crosses the wire in plaintext while nobody encrypts it. Then one of its threads throws, and one stalls.
import { agentSnapshot, agentStatus, harmThread, isAgentReady } from "../agents.ts";
import { Capture, type Flow } from "../capture.ts";
import {
  addressOf,
  ECHO_PORT,
  gatewayOf,
  HTTP_PORT,
  hostOf,
  namespaceOf,
  ROUTER,
  UID,
} from "../layout.ts";
import { partCommand, startLoad } from "../programs.ts";
import { logPath } from "../run-directory.ts";
import { until } from "../until.ts";
import { squatOnPorts } from "./squatters.ts";
import { type CheckContext, holds, isOnly, type Step, shown, within } from "./step.ts";
import { Watch } from "./watch.ts";

const BACK_WITHIN_MS = 1_000;
/** A stall is noticed after 2 s; the replacement loads its code. */
const REPLACED_WITHIN_MS = { throw: 1_000, stall: 4_000 };
const GIVES_UP_MS = 15_000;
const RATE = 20;
const web = hostOf("productpage");
/** Of web, and nobody declared it. */
const UNDECLARED_PORT = 8022;
const APP_PORTS = [HTTP_PORT, 9081, ECHO_PORT];

export const agentDeath: Step = {
  number: 9,
  claim: "an agent that is killed is back within a second, and its threads without it",
  async run(context) {
    const { demo } = context;
    demo.agentOptions = ["--test-faults"];
    const figures = [await killUnderLoad(context), await harmThreads(context)];
    demo.agentOptions = [];
    figures.push(await squatOnPorts(context));
    return figures.join("; ");
  },
};

/** Traffic that the agent on web carries: to its declared ports, and from its host to virtual IPs. */
async function watchCarried(context: CheckContext) {
  const snapshot = await agentSnapshot(web);
  const vipOf = (service: string): string =>
    snapshot?.services.find(({ name }) => name === service)?.vip4 ?? "";
  const visitor = hostOf("visitor");
  const page = { host: vipOf("productpage"), port: HTTP_PORT, path: "/health" };
  const reviews = { host: vipOf("reviews"), port: HTTP_PORT, path: "/reviews/0" };
  return {
    declared: await Watch.start(context, visitor, UID.visitor, page),
    virtual: await Watch.start(context, web, UID.productpage, reviews),
  };
}

/** Traffic that it never sees. */
async function watchUndeclared(context: CheckContext) {
  const out = { host: gatewayOf(web), port: 80, path: "/" };
  const into = { host: addressOf(web), port: UNDECLARED_PORT, path: "/health" };
  return {
    undeclaredOut: await Watch.start(context, web, UID.stranger, out),
    undeclaredIn: await Watch.start(context, ROUTER, UID.bystander, into),
  };
}

async function killUnderLoad(context: CheckContext): Promise<string> {
  const { demo, say } = context;
  const site = demo.lab.spawn(namespaceOf(web), partCommand(demo.lab, "site", UNDECLARED_PORT), {
    uid: UID.bystander,
    log: logPath("undeclared"),
  });
  const capture = await Capture.start(demo.lab, logPath("capture-9"));
  let seen: Promise<readonly Flow[]> | undefined;
  const flows = (): Promise<readonly Flow[]> => {
    seen ??= capture.stop();
    return seen;
  };
  const load = startLoad(demo.lab, RATE);
  load.stdout?.resume();
  const watches = { ...(await watchCarried(context)), ...(await watchUndeclared(context)) };
  const all = Object.values(watches);
  try {
    for (const watch of all) await watch.untilSeen("200", 0, GIVES_UP_MS);
    say("kill -9 of the agent on web");
    const { killedAtMs, goneAtMs } = await demo.agentOn(web).crash();
    const declaredMs = await watches.declared.untilSeen("200", goneAtMs, GIVES_UP_MS);
    const virtualMs = await watches.virtual.untilSeen("200", goneAtMs, GIVES_UP_MS);
    await until("the redirect", GIVES_UP_MS, () => isAgentReady(web));
    await Promise.all(all.map((watch) => watch.stop()));
    const declared = within(context, "declared ports", declaredMs - killedAtMs, BACK_WITHIN_MS);
    const virtual = within(context, "virtual IPs", virtualMs - killedAtMs, BACK_WITHIN_MS);
    const unharmed = [watches.undeclaredOut, watches.undeclaredIn].map((watch) => {
      const { length } = watch.attempts;
      holds(isOnly(watch.outcomes, "200", length), () => `undeclared: ${shown(watch.outcomes)}`);
      return length;
    });
    const bytes = readNothing(await flows());
    return `killed: declared ports after ${declared}, virtual IPs after ${virtual}; ${unharmed.join(" + ")} undeclared requests out and in, 0 failed; ${Math.round(bytes / 1024)} KB on the wire, 0 in plaintext`;
  } finally {
    load.kill("SIGTERM");
    site.kill("SIGTERM");
    await Promise.all(all.map((watch) => watch.stop()));
    await flows();
  }
}

/** What the bookstore's answers and any HTTP message would show. */
const READABLE = ["Shakespeare", "Reviewer1", "HTTP/1.1", "productpage is healthy"];

/** No byte to or from a declared app port, and no readable word anywhere but in what is none of ours. Returns how much was seen. */
function readNothing(flows: readonly Flow[]): number {
  let bytes = 0;
  for (const { from, to, payload } of flows) {
    if (payload.length === 0) continue;
    const ports = [from, to].map((end) => Number(end.slice(end.lastIndexOf(":") + 1)));
    if (ports.includes(80) || ports.includes(UNDECLARED_PORT)) continue;
    bytes += payload.length;
    holds(
      !ports.some((port) => APP_PORTS.includes(port)),
      () => `${payload.length} bytes from ${from} to ${to}: an app's port, past every agent`,
    );
    const word = READABLE.find((text) => payload.includes(text));
    holds(word === undefined, () => `"${word}" can be read from ${from} to ${to}`);
  }
  holds(bytes > 0, () => "nothing was seen on the wire");
  return bytes;
}

/** A thread that throws, and one whose loop stands still: both are replaced in the same process, and who connects meanwhile gets an
 *  answer or a refusal. */
async function harmThreads(context: CheckContext): Promise<string> {
  const figures: string[] = [];
  const pid = (await agentStatus(web))?.pid;
  for (const kind of ["throw", "stall"] as const) {
    context.say(`a data thread is made to ${kind}`);
    const watches = await watchCarried(context);
    const carried = Object.values(watches);
    try {
      const harmedAtMs = Date.now();
      await harmThread(web, 0, kind);
      await until(`thread 0 in place after a ${kind}`, GIVES_UP_MS, async () => {
        const status = await agentStatus(web);
        return (status?.threadsReplaced ?? 0) > figures.length && (await isAgentReady(web));
      });
      const replacedMs = Date.now() - harmedAtMs;
      for (const watch of carried) await watch.untilSeen("200", Date.now(), GIVES_UP_MS);
      await Promise.all(carried.map((watch) => watch.stop()));
      const took = within(context, `a ${kind}`, replacedMs, REPLACED_WITHIN_MS[kind]);
      const seen = carried.map(({ outcomes }) => outcomes);
      const hanging = Object.entries(watches).flatMap(([name, { attempts }]) =>
        attempts
          .filter(([, , how]) => how.startsWith("timeout"))
          .map(([began, , how]) => `${name} begun ${began - harmedAtMs} ms after it (${how})`),
      );
      holds(hanging.length === 0, () => `a ${kind} left hanging: ${hanging.join(", ")}`);
      figures.push(`${kind}: replaced after ${took} (${seen.map(shown).join(" and ")})`);
    } finally {
      await Promise.all(carried.map((watch) => watch.stop()));
    }
  }
  holds((await agentStatus(web))?.pid === pid, () => "the process was replaced, not the thread");
  return figures.join("; ");
}
