// Step 12: the story's first five steps with the mesh's state in a real Consul, and then without that Consul.
import { untilAllRun } from "../agents.ts";
import { untilConsulServes } from "../consul.ts";
import { examplePath } from "../run-directory.ts";
import { authorization } from "./authorization.ts";
import { applyEverywhere, canary } from "./canary.ts";
import { membership } from "./membership.ts";
import { peerAuthentication } from "./peer-authentication.ts";
import { type CheckContext, holds, type Step } from "./step.ts";
import { underLoad } from "./under-load.ts";
import { wire } from "./wire.ts";

const STORY: readonly Step[] = [membership, wire, canary, peerAuthentication, authorization];

export const onConsul: Step = {
  number: 12,
  claim: "the same five steps hold with the mesh in a real Consul, and its outage costs nothing",
  async run(context) {
    for (const step of STORY) {
      const say = (text: string): void => context.say(`step ${step.number} on Consul: ${text}`);
      await step.run({ ...context, say }).catch((cause: unknown) => {
        const why = cause instanceof Error ? cause.message : String(cause);
        throw new Error(`step ${step.number}: ${why}`, { cause });
      });
    }
    const outage = await underLoad(context, () => withoutConsul(context));
    return `steps 1 to 5 hold; ${outage}`;
  },
};

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
  await untilAllRun(version, 1_000); // what they had
  say("Consul returns");
  await consul.start();
  await untilConsulServes(demo.lab);
  const reachedMs = await applyEverywhere(context, "permissive.yaml");
  await demo.operator.delete("peerauthentication", "default");
  return `Consul killed: an apply refused after ${refusedMs} ms naming it, all agents kept version ${version}; back: a change in force after ${reachedMs} ms`;
}
