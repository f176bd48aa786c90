// `meshctl demo --check`: the demo's story unattended. One line a step; all of them must hold.
import colors from "picocolors";
import { Capture } from "../capture.ts";
import type { Demo } from "../demo.ts";
import type { Progress } from "../progress.ts";
import { pathOf } from "../requirements.ts";
import { logPath } from "../run-directory.ts";
import { authorization } from "./authorization.ts";
import { canary } from "./canary.ts";
import { membership } from "./membership.ts";
import { peerAuthentication } from "./peer-authentication.ts";
import { rotation } from "./rotation.ts";
import type { Step } from "./step.ts";
import { wire } from "./wire.ts";
import { withoutServer } from "./without-server.ts";

const STEPS: readonly Step[] = [
  membership,
  wire,
  canary,
  peerAuthentication,
  authorization,
  withoutServer,
  rotation,
];
export const STEP_NUMBERS: readonly number[] = STEPS.map(({ number }) => number);

/** The process's exit code. */
export async function runChecks(
  demo: Demo,
  progress: Progress,
  { parts, slack }: { readonly parts: readonly number[]; readonly slack: number },
): Promise<number> {
  const steps = STEPS.filter((step) => parts.includes(step.number));
  const isCaptured = steps.includes(wire);
  if (isCaptured && pathOf("tcpdump") === undefined)
    throw new Error("step 2 reads packets with tcpdump: apt-get install -y tcpdump");
  let capture: Capture | undefined;
  const url = await demo.start(async () => {
    if (isCaptured) capture = await Capture.start(demo.lab, logPath("capture"));
  });
  const startedMs = progress.elapsedMs();
  progress.line(
    `five hosts and the bookstore: first page after ${(startedMs / 1000).toFixed(1)} s`,
  );
  let failed = 0;
  for (const step of steps) {
    if (demo.lab.isDown) break; // interrupted
    const sinceMs = progress.elapsedMs();
    const say = (text: string): void => progress.step(`step ${step.number}: ${text}`);
    const outcome = await step.run({ demo, url, capture, slack, say }).then(
      (figures) => `${colors.green("ok")} ${step.number} ${step.claim}: ${figures}`,
      (cause: unknown) => {
        failed += 1;
        return `${colors.red("NOT OK")} ${step.number} ${step.claim}: ${cause instanceof Error ? cause.message : String(cause)}`;
      },
    );
    progress.line(`${outcome} (${((progress.elapsedMs() - sinceMs) / 1000).toFixed(1)} s)`);
  }
  const total = (progress.elapsedMs() / 1000).toFixed(1);
  progress.line(
    failed === 0
      ? colors.green(`all ${steps.length} steps hold, ${total} s in all`)
      : colors.red(`${failed} of ${steps.length} steps do not hold, ${total} s in all`),
  );
  if (failed > 0) demo.keepLogs();
  return failed === 0 ? 0 : 1;
}
