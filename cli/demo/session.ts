// One run of the demo on this machine: whether it may start, and that it ends with nothing left, however it ends.
import { needsConsul, runChecks } from "./checks/run-checks.ts";
import type { Effort } from "./checks/step.ts";
import { findConsul, NO_CONSUL } from "./consul.ts";
import { rememberContexts } from "./context.ts";
import { Demo, type MakeDemo } from "./demo.ts";
import { findDeno } from "./deno.ts";
import { meshctlCommand } from "./executable.ts";
import { RUN_DIRECTORY } from "./layout.ts";
import { Progress } from "./progress.ts";
import { addSystemPaths, missingRequirements } from "./requirements.ts";
import { runningDemo } from "./run-directory.ts";
import { tour } from "./tour.ts";

export interface SessionOptions {
  readonly isCheck: boolean;
  /** With isCheck: which steps. */
  readonly steps: readonly number[];
  /** With isCheck: how many times its limit a figure may be. */
  readonly slack: number;
  /** With isCheck. */
  readonly effort: Effort;
  /** Where the mesh's state lies. */
  readonly registry: "embedded" | "consul";
  /** What config server and agents run under. */
  readonly runtime: "bun" | "deno";
  /** What failed is left running until a signal. */
  readonly keepsFailed: boolean;
}

/** The check must not touch the operator's own contexts, the tour has to. */
const CHECK_CONTEXTS = `${RUN_DIRECTORY}/contexts.json`;
/** As a shell tells it of a command that SIGINT ended. */
const INTERRUPTED = 130;

/** Resolves to the exit code. */
export async function runSession(options: SessionOptions): Promise<number> {
  addSystemPaths();
  const obstacles = await missingRequirements();
  const other = runningDemo();
  if (other !== undefined)
    obstacles.push(`A demo runs here already (process ${other}): end it with \`kill ${other}\`.`);
  const consul = findConsul();
  const wantsConsul =
    options.registry === "consul" || (options.isCheck && needsConsul(options.steps));
  if (wantsConsul && consul === undefined) obstacles.push(NO_CONSUL);
  const deno = options.runtime === "deno" ? findDeno() : undefined;
  if (typeof deno === "string") obstacles.push(deno);
  if (obstacles.length > 0) {
    process.stderr.write(`${obstacles.join("\n")}\n`);
    return 1;
  }
  const { promise: interrupted, resolve: interrupt } = Promise.withResolvers<void>();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, interrupt);
  // A terminal that was closed must not keep the rest from being removed.
  process.stdout.on("error", () => undefined);
  const progress = new Progress(process.stdout);
  const { isCheck } = options;
  const contexts = isCheck ? { contextsFile: CHECK_CONTEXTS } : {};
  const demos: Demo[] = [];
  const makeDemo: MakeDemo = (on) => {
    const made = new Demo(meshctlCommand(), progress, {
      ...contexts,
      ...(on === "consul" && consul !== undefined ? { consul } : {}),
      ...(typeof deno === "object" ? { deno } : {}),
    });
    demos.push(made);
    return made;
  };
  const restoreContexts = isCheck ? () => undefined : rememberContexts();
  try {
    return await untilOver(makeDemo, demos, progress, options, interrupted);
  } finally {
    progress.step("removing every namespace, rule and process");
    progress.close();
    restoreContexts();
    for (const demo of demos) await demo.stop();
    progress.clear();
  }
}

async function untilOver(
  makeDemo: MakeDemo,
  demos: readonly Demo[],
  progress: Progress,
  { isCheck, registry, steps, slack, effort, keepsFailed }: SessionOptions,
  interrupted: Promise<void>,
): Promise<number> {
  const story = isCheck
    ? runChecks(makeDemo, progress, { registry, parts: steps, slack, effort })
    : tour(makeDemo(registry), progress, interrupted);
  const told = story.catch((cause: unknown) => {
    const demo = demos.at(-1);
    if (demo?.lab.isDown === true) return INTERRUPTED;
    progress.line(`The demo failed: ${cause instanceof Error ? cause.message : String(cause)}`);
    demo?.keepLogs();
    return 1;
  });
  const code = await Promise.race([told, interrupted.then(() => (isCheck ? INTERRUPTED : 0))]);
  if (code === 1 && keepsFailed) {
    progress.line("Everything is left running (--keep); Ctrl-C removes it.");
    await interrupted;
  }
  return code;
}
