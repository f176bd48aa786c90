// Step 4: who has no agent and so cannot prove who he is: refused under STRICT, let in under PERMISSIVE. The router is such a client.
import { addressOf, HTTP_PORT, hostOf, ROUTER, UID } from "../layout.ts";
import type { MeasureResult } from "../parts/measure.ts";
import { applyEverywhere } from "./canary.ts";
import { type CheckContext, holds, isOnly, measure, requests, type Step, shown } from "./step.ts";
import { underLoad } from "./under-load.ts";

const TIMES = 20;

export const peerAuthentication: Step = {
  number: 4,
  claim: "STRICT refuses a plaintext client without an agent, PERMISSIVE lets it in",
  run: (context) => underLoad(context, () => switchModes(context)),
};

async function switchModes(context: CheckContext): Promise<string> {
  const strictMs = await applyEverywhere(context, "strict.yaml");
  const refused = await askPlainly(context);
  const refusals = (refused["reset"] ?? 0) + (refused["closed"] ?? 0);
  holds(refusals === TIMES, () => `under STRICT a plaintext client got ${shown(refused)}`);
  const meshed = await measure(
    context,
    hostOf("visitor"),
    UID.visitor,
    requests({ host: "details", port: HTTP_PORT }, "/details/0", { times: TIMES }),
  );
  holds(
    isOnly(meshed.outcomes, "200", TIMES),
    () => `under STRICT the mesh's own caller got ${shown(meshed.outcomes)}`,
  );
  const permissiveMs = await applyEverywhere(context, "permissive.yaml");
  const admitted = await askPlainly(context);
  holds(
    isOnly(admitted, "200", TIMES),
    () => `under PERMISSIVE a plaintext client got ${shown(admitted)}`,
  );
  await context.demo.operator.delete("peerauthentication", "default");
  return `STRICT ${refusals} of ${TIMES} refused (in force after ${strictMs} ms), PERMISSIVE ${TIMES} of ${TIMES} answered (after ${permissiveMs} ms)`;
}

/** A connection each, so that each is decided anew. */
async function askPlainly(context: CheckContext): Promise<MeasureResult["outcomes"]> {
  const to = { host: addressOf(hostOf("details")), port: HTTP_PORT };
  const job = requests(to, "/details/0", { times: TIMES, isFresh: true });
  return (await measure(context, ROUTER, UID.bystander, job)).outcomes;
}
