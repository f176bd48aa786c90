// `meshctl demo` for a person: what stands, what to try, and a load whose counts are shown until Ctrl-C.
import { createInterface } from "node:readline";
import colors from "picocolors";
import { agentStatus } from "./agents.ts";
import type { Demo } from "./demo.ts";
import { addressOf, HOSTS, SERVER_HOST } from "./layout.ts";
import type { LoadCounts } from "./parts/load.ts";
import { startLoad } from "./programs.ts";
import type { Progress } from "./progress.ts";
import { EXAMPLES, LOGS } from "./run-directory.ts";

/** Pages a second: enough to see shares move, little enough to be forgotten. */
const LOAD_RATE = 10;

export async function tour(
  demo: Demo,
  progress: Progress,
  interrupted: Promise<unknown>,
): Promise<number> {
  const url = await demo.start();
  const seconds = (progress.elapsedMs() / 1000).toFixed(1);
  const statuses = await Promise.all(HOSTS.map(agentStatus));
  const meshctl = demo.operator.commandLine();
  progress.line(
    colors.bold(`The bookstore is open, ${seconds} s after the start: ${colors.cyan(url)}`),
  );
  progress.line("");
  progress.line("Five hosts, each with an agent of its own that nobody configured by hand:");
  HOSTS.forEach((host, i) => {
    const runs = [...host.programs, ...(host.name === SERVER_HOST ? ["config server"] : [])];
    const { version = "-", redirect } = statuses[i] ?? {};
    progress.line(
      `  ${host.name.padEnd(6)} ${addressOf(host)}  ${runs.join(", ").padEnd(36)} ${colors.dim(`config version ${version}, redirect ${redirect?.mode ?? "-"} (${redirect?.backend ?? "-"})`)}`,
    );
  });
  progress.line("");
  progress.line(`Try, in another terminal (resources and logs: ${EXAMPLES}, ${LOGS}):`);
  for (const [command, what] of SUGGESTIONS)
    progress.line(`  ${colors.green(`${meshctl} ${command}`)}\n      ${colors.dim(what)}`);
  progress.line(`  ${colors.green(`curl -s ${url} -H 'end-user: jason'`)}`);
  progress.line("");
  await showLoad(demo, progress, interrupted);
  return 0;
}

const SUGGESTIONS: readonly (readonly [command: string, what: string])[] = [
  ["status", "hosts, versions and certificates"],
  [
    `apply -f ${EXAMPLES}/canary-90-10.yaml`,
    "nine of ten requests stay on v1; watch the shares below",
  ],
  [`apply -f ${EXAMPLES}/canary-50-50.yaml`, "and on"],
  [`apply -f ${EXAMPLES}/header-jason.yaml`, "only user jason sees v3 (red stars)"],
  [`apply -f ${EXAMPLES}/reviews-only-productpage.yaml`, "nobody but productpage may read reviews"],
  [`apply -f ${EXAMPLES}/strict.yaml`, "plaintext callers are refused"],
  ["get virtualservices -o yaml", "what is in force"],
  ["delete virtualservice reviews", "all versions again"],
];

async function showLoad(
  demo: Demo,
  progress: Progress,
  interrupted: Promise<unknown>,
): Promise<void> {
  const child = startLoad(demo.lab, LOAD_RATE);
  const { stdout } = child;
  if (stdout === null) throw new Error("the load has no output");
  let last = 0;
  createInterface({ input: stdout }).on("line", (line) => {
    // A log that is not a terminal gets a line every 10 s.
    if (!process.stdout.isTTY && performance.now() - last < 10_000) return;
    last = performance.now();
    progress.status(describe(JSON.parse(line) as LoadCounts));
  });
  await interrupted;
  progress.clear();
}

export function describe(counts: LoadCounts): string {
  const pages = counts.keptAlive + counts.fresh;
  const versions = Object.entries(counts.versions)
    .sort()
    .map(([version, times]) => `${version} ${Math.round((100 * times) / Math.max(1, pages))}%`);
  const failures = Object.entries(counts.failures).map(([what, times]) => `${times} ${what}`);
  const bad = failures.length === 0 ? colors.green("0 failures") : colors.red(failures.join(", "));
  return `load: ${pages} pages (${counts.keptAlive} kept alive, ${counts.fresh} fresh), ${counts.echoed} echoes, ${bad}; reviews ${versions.join(", ")}; Ctrl-C ends`;
}
