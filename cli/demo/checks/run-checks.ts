// `meshctl demo --check`: the demo's story unattended. One line a step; all of them must hold.
import colors from "picocolors";
import { Capture } from "../capture.ts";
import type { Demo, MakeDemo } from "../demo.ts";
import type { Progress } from "../progress.ts";
import { pathOf } from "../requirements.ts";
import { logPath } from "../run-directory.ts";
import { agentDeath } from "./agent-death.ts";
import { authorization } from "./authorization.ts";
import { canary } from "./canary.ts";
import { membership } from "./membership.ts";
import { onConsul } from "./on-consul.ts";
import { peerAuthentication } from "./peer-authentication.ts";
import { powerLoss } from "./power-loss.ts";
import { removal } from "./removal.ts";
import { rotation } from "./rotation.ts";
import type { Effort, Step } from "./step.ts";
import { upgrade } from "./upgrade.ts";
import { wire } from "./wire.ts";
import { withoutServer } from "./without-server.ts";

const STEPS: readonly Step[] = [
  membership,
  wire,
  canary,
  peerAuthentication,
  authorization,
  powerLoss,
  withoutServer,
  rotation,
  agentDeath,
  upgrade,
  removal,
  onConsul,
];
export const STEP_NUMBERS: readonly number[] = STEPS.map(({ number }) => number);

/** A demo of its own, after the others. */
const APART: readonly Step[] = [onConsul];

export const needsConsul = (parts: readonly number[]): boolean => parts.includes(onConsul.number);

export interface CheckOptions {
  readonly registry: "embedded" | "consul";
  readonly parts: readonly number[];
  readonly slack: number;
  readonly effort: Effort;
}

/** The process's exit code. */
export async function runChecks(
  makeDemo: MakeDemo,
  progress: Progress,
  { registry, parts, slack, effort }: CheckOptions,
): Promise<number> {
  const steps = STEPS.filter((step) => parts.includes(step.number));
  const together = steps.filter((step) => !APART.includes(step));
  const apart = steps.filter((step) => APART.includes(step));
  const reader = parts.find((part) => [...NEEDS_CAPTURE, agentDeath.number].includes(part));
  if (reader !== undefined && pathOf("tcpdump") === undefined)
    throw new Error(`step ${reader} reads packets with tcpdump: apt-get install -y tcpdump`);
  let failed = 0;
  if (together.length > 0) {
    const demo = makeDemo(registry);
    failed += await runSteps(demo, progress, { steps: together, slack, effort });
    if (demo.lab.isDown) return 1; // interrupted
    // Both have the same addresses and names.
    if (apart.length > 0) await demo.stop();
  }
  if (apart.length > 0)
    failed += await runSteps(makeDemo("consul"), progress, { steps: apart, slack, effort });
  const total = (progress.elapsedMs() / 1000).toFixed(1);
  progress.line(
    failed === 0
      ? colors.green(`all ${steps.length} steps hold, ${total} s in all`)
      : colors.red(`${failed} of ${steps.length} steps do not hold, ${total} s in all`),
  );
  return failed === 0 ? 0 : 1;
}

const NEEDS_CAPTURE: readonly number[] = [wire.number, onConsul.number];

interface Run {
  readonly steps: readonly Step[];
  readonly slack: number;
  readonly effort: Effort;
}

/** How many do not hold. */
async function runSteps(demo: Demo, progress: Progress, run: Run): Promise<number> {
  const { steps, slack, effort } = run;
  const isCaptured = steps.some(({ number }) => NEEDS_CAPTURE.includes(number));
  let capture: Capture | undefined;
  const beganMs = progress.elapsedMs();
  const url = await demo.start(async () => {
    if (isCaptured) capture = await Capture.start(demo.lab, logPath("capture"));
  });
  const startedMs = progress.elapsedMs() - beganMs;
  const on = demo.consul === undefined ? "" : " on Consul";
  progress.line(
    `five hosts and the bookstore${on}: first page after ${(startedMs / 1000).toFixed(1)} s`,
  );
  let failed = 0;
  for (const step of steps) {
    if (demo.lab.isDown) break; // interrupted
    const sinceMs = progress.elapsedMs();
    const say = (text: string): void => progress.step(`step ${step.number}: ${text}`);
    const outcome = await step.run({ demo, url, capture, slack, effort, say }).then(
      (figures) => `${colors.green("ok")} ${step.number} ${step.claim}: ${figures}`,
      (cause: unknown) => {
        failed += 1;
        return `${colors.red("NOT OK")} ${step.number} ${step.claim}: ${cause instanceof Error ? cause.message : String(cause)}`;
      },
    );
    progress.line(`${outcome} (${((progress.elapsedMs() - sinceMs) / 1000).toFixed(1)} s)`);
  }
  if (failed > 0) demo.keepLogs();
  return failed;
}
