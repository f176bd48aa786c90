// Step 12: the story's first five steps with the mesh's state in a real Consul, and then without that Consul.
import type { Endpoint } from "../../../agent/policy/snapshot.ts";
import { agentSnapshot, untilAllRun } from "../agents.ts";
import { runConsul, untilConsulServes } from "../consul.ts";
import { addressOf, gatewayOf, HTTP_PORT, hostOf, UID } from "../layout.ts";
import { examplePath } from "../run-directory.ts";
import { until } from "../until.ts";
import { authorization } from "./authorization.ts";
import { applyEverywhere, canary } from "./canary.ts";
import { membership } from "./membership.ts";
import { peerAuthentication } from "./peer-authentication.ts";
import { type CheckContext, holds, isOnly, measure, requests, type Step, shown } from "./step.ts";
import { underLoad } from "./under-load.ts";
import { wire } from "./wire.ts";

/** Registered in Consul, and nowhere in the mesh: the router's web site. */
const FOUND = "library";
/** Another name for details, in Consul alone. */
const ALIAS = "shelf";
const MESHED = ["productpage", "details", "reviews", "ratings", "echo"];
const TIMES = 20;
/** Figures may be so many times those of the embedded store: each change is Consul's to commit, and its server is one more process. */
const CONSUL_COSTS = 2;
const web = hostOf("productpage");

const STORY: readonly Step[] = [membership, wire, canary, peerAuthentication, authorization];

export const onConsul: Step = {
  number: 12,
  claim: "the same five steps hold with the mesh in a real Consul, and its outage costs nothing",
  async run(context) {
    for (const step of STORY) {
      const say = (text: string): void => context.say(`step ${step.number} on Consul: ${text}`);
      await step
        .run({ ...context, say, slack: context.slack * CONSUL_COSTS })
        .catch((cause: unknown) => {
          const why = cause instanceof Error ? cause.message : String(cause);
          throw new Error(`step ${step.number}: ${why}`, { cause });
        });
    }
    const catalog = await oneCatalog(context);
    const outage = await underLoad(context, () => withoutConsul(context));
    return `steps 1 to 5 hold; ${catalog}; ${outage}`;
  },
};

/** What is in Consul is called by name from the mesh, what the mesh runs is found in Consul. */
async function oneCatalog(context: CheckContext): Promise<string> {
  const { demo, say } = context;
  say("a service that only Consul knows");
  const startedMs = performance.now();
  const place = [`-name=${FOUND}`, `-address=${gatewayOf(web)}`, "-port=80"];
  await runConsul(demo.lab, "services", "register", ...place);
  await untilKnown(FOUND);
  const knownMs = Math.round(performance.now() - startedMs);
  await callFound(context, FOUND);
  await callFound(context, `${FOUND}.service.consul`);
  const own = [`-name=${ALIAS}`, `-address=${addressOf(hostOf("details"))}`, `-port=${HTTP_PORT}`];
  await runConsul(demo.lab, "services", "register", ...own);
  const identity = (await untilKnown(ALIAS)).mesh?.identity;
  holds(
    identity?.endsWith("/sa/details") === true,
    () => `details under the name ${ALIAS} is dialled as ${identity ?? "nobody, in plaintext"}`,
  );
  await callFound(context, ALIAS, HTTP_PORT, "/details/0");
  const listed = (await runConsul(demo.lab, "catalog", "services")).split("\n");
  const missing = MESHED.filter((name) => !listed.includes(name));
  holds(missing.length === 0, () => `Consul does not know ${missing.join(", ")}`);
  return `a service registered in Consul called by name after ${knownMs} ms, a workload found there dialled by mesh, ${MESHED.length} of the mesh's found there`;
}

/** The first endpoint of the service, once web's agent has one. */
async function untilKnown(service: string): Promise<Endpoint> {
  let found: Endpoint | undefined;
  await until(`${service} on web`, 10_000, async () => {
    const snapshot = await agentSnapshot(web);
    const port = snapshot?.services.find(({ name }) => name === service)?.ports[0];
    const index = snapshot?.clusters[port?.cluster ?? -1]?.endpoints[0];
    found = snapshot?.endpoints[index ?? -1];
    return found !== undefined;
  });
  if (found === undefined) throw new Error(`web has no endpoint of ${service}`);
  return found;
}

async function callFound(
  context: CheckContext,
  host: string,
  port = 80,
  path = "/",
): Promise<void> {
  const job = requests({ host, port }, path, { times: TIMES });
  const { outcomes } = await measure(context, web, UID.productpage, job);
  holds(isOnly(outcomes, "200", TIMES), () => `${host} gave ${shown(outcomes)}`);
}

async function withoutConsul(context: CheckContext): Promise<string> {
  const { demo, say } = context;
  const { consul } = demo;
  if (consul === undefined) throw new Error("this demo has no Consul");
  say("Consul is killed");
  const { version } = await demo.operator.status();
  await consul.stop("SIGKILL");
  const startedMs = performance.now();
  const refused = await demo.operator.run("apply", "-f", examplePath("strict.yaml"));
  const refusedMs = Math.round(performance.now() - startedMs);
  const said = refused.stderr + refused.stdout;
  holds(refused.code !== 0, () => "an apply was accepted without Consul");
  holds(
    said.includes("Consul at http") && said.includes("nothing was stored"),
    () => `without Consul an apply said: ${said}`,
  );
  const { consulAwaySeconds } = context.effort;
  say(`and stays away for ${consulAwaySeconds} s`);
  await new Promise((resolve) => setTimeout(resolve, consulAwaySeconds * 1_000));
  await untilAllRun(version, 1_000); // what they had
  await callFound(context, FOUND);
  say("Consul returns");
  await consul.start();
  await untilConsulServes(demo.lab);
  const reachedMs = await applyEverywhere(context, "permissive.yaml");
  await demo.operator.delete("peerauthentication", "default");
  return `Consul killed for ${consulAwaySeconds} s: an apply refused after ${refusedMs} ms naming it, all agents kept version ${version}; back: a change in force after ${reachedMs} ms`;
}
