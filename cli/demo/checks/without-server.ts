// Step 7: the config server is no part of a request. With it gone traffic, mTLS and policy go on, and an agent that is started again
// serves what its disk holds; once it is back a change reaches everybody as fast as ever.
import { agentSnapshot, agentStatus } from "../agents.ts";
import { addressOf, HOSTS, HTTP_PORT, hostOf, ROUTER, UID } from "../layout.ts";
import { until } from "../until.ts";
import { applyEverywhere } from "./canary.ts";
import {
  type CheckContext,
  holds,
  isOnly,
  measure,
  requests,
  type Step,
  shown,
  within,
} from "./step.ts";
import { underLoad } from "./under-load.ts";
import { Watch } from "./watch.ts";

const TIMES = 20;
const RESTART_MS = 500;
/** The longest back-off of an agent that looks for its server, and a connection. */
const RECONNECTS_WITHIN_MS = 15_000;
const REVIEWS = { host: "reviews", port: HTTP_PORT };
const PATH = "/reviews/0";
const web = hostOf("productpage");

export const withoutServer: Step = {
  number: 7,
  claim: "without its config server the mesh goes on, and an agent comes back from disk",
  async run(context) {
    const { demo, say } = context;
    await applyEverywhere(context, "reviews-only-productpage.yaml");
    await applyEverywhere(context, "strict.yaml");
    const underway = await underLoad(context, () => policyGoesOn(context));
    const restart = await restartFromDisk(context);
    say("the server returns");
    await demo.server.start();
    const startedMs = performance.now();
    await untilConnected(true);
    const backMs = Math.round(performance.now() - startedMs);
    const reachedMs = await applyEverywhere(context, "permissive.yaml");
    await demo.operator.delete("peerauthentication", "default");
    await demo.operator.delete("authorizationpolicy", "reviews-only-productpage");
    return `${underway}; ${restart}; all agents back ${backMs} ms after the server started, a change in force after ${reachedMs} ms`;
  },
};

async function policyGoesOn(context: CheckContext): Promise<string> {
  const { demo, say } = context;
  say("the server is stopped");
  await demo.server.stop("SIGTERM");
  await untilConnected(false);
  say("policy and mTLS without it");
  const get = requests(REVIEWS, PATH, { times: TIMES, isFresh: true });
  const own = (await measure(context, web, UID.productpage, get)).outcomes;
  holds(isOnly(own, "200", TIMES), () => `without the server productpage got ${shown(own)}`);
  const other = (await measure(context, web, UID.stranger, get)).outcomes;
  holds(isOnly(other, "403", TIMES), () => `without the server a stranger got ${shown(other)}`);
  const plainly = { host: addressOf(hostOf("details")), port: HTTP_PORT };
  const job = requests(plainly, "/details/0", { times: TIMES, isFresh: true });
  const plain = (await measure(context, ROUTER, UID.bystander, job)).outcomes;
  const cut = (plain["reset"] ?? 0) + (plain["closed"] ?? 0);
  holds(cut === TIMES, () => `without the server a plaintext client got ${shown(plain)}`);
  return `server away: ${TIMES} of ${TIMES} answered, a stranger's ${TIMES} got 403, ${cut} plaintext dials refused`;
}

/** From the moment its process is started to the first answer through it. */
async function restartFromDisk(context: CheckContext): Promise<string> {
  const { demo, say } = context;
  say("an agent is started again without it");
  const vip = (await agentSnapshot(web))?.services.find(({ name }) => name === "reviews")?.vip4;
  if (vip === undefined) throw new Error("the agent on web knows no address of reviews");
  const to = { host: vip, port: HTTP_PORT, path: PATH };
  const watch = await Watch.start(context, web, UID.productpage, to);
  let servedMs: number;
  try {
    await demo.agentOn(web).stop("SIGTERM");
    const startedAtMs = await demo.agentOn(web).start();
    servedMs = (await watch.untilSeen("200", startedAtMs, 10_000)) - startedAtMs;
  } finally {
    await watch.stop();
  }
  const served = within(context, "an agent's start from disk", servedMs, RESTART_MS);
  const from = (await agentStatus(web))?.snapshotFrom;
  holds(from === "disk", () => `the agent on web serves what came from ${from ?? "nowhere"}`);
  return `an agent started again served from disk after ${served}`;
}

/** Every agent, or none of them. */
export const untilConnected = (isConnected: boolean): Promise<void> =>
  until(`every agent ${isConnected ? "connected" : "alone"}`, RECONNECTS_WITHIN_MS, async () => {
    const all = await Promise.all(HOSTS.map(agentStatus));
    return all.every((one) => one?.server.isConnected === isConnected);
  });
