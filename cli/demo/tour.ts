// `meshctl demo` for a person: what stands, what to try, and a load whose counts are shown until Ctrl-C.
import { createInterface } from "node:readline";
import colors from "picocolors";
import { adminSocketOf, agentStatus } from "./agents.ts";
import type { Demo } from "./demo.ts";
import { addressOf, HOSTS, hostNamed, SERVER_HOST } from "./layout.ts";
import { type LoadCounts, TELLS_EVERY_MS } from "./parts/load.ts";
import { startLoad } from "./programs.ts";
import type { Progress } from "./progress.ts";
import { EXAMPLES, LOGS } from "./run-directory.ts";

/** Time over which the shares of the versions are told, and between two lines where there is no terminal. */
const SHARES_OVER_MS = 10_000;
const SHARES_OVER = SHARES_OVER_MS / TELLS_EVERY_MS;
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
  progress.line(`Who calls whom, live: ${colors.cyan(await dashboardUrl(demo))}`);
  progress.line(
    colors.dim(
      `  log in with the token of \`${meshctl} dashboard --token\`; the certificate is of the mesh's own CA, so the browser asks once`,
    ),
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
  for (const [command, what] of [
    [`curl -s ${url} -H 'end-user: jason'`, "the page as jason sees it"],
    [
      `curl -s --unix-socket ${adminSocketOf(hostNamed("web"))} http://agent/metrics`,
      "what web's agent counts, under Istio's names",
    ],
  ])
    progress.line(`  ${colors.green(`${command}`)}\n      ${colors.dim(`${what}`)}`);
  progress.line("");
  progress.line(
    "A gentle load runs that never tries twice. Ctrl-C ends it and removes everything.",
  );
  await showLoad(demo, progress, interrupted);
  return 0;
}

/** Asked for once, over verified TLS: what is printed is there. */
async function dashboardUrl({ operator }: Demo): Promise<string> {
  const { url } = JSON.parse(await operator.runOrThrow("dashboard", "-o", "json")) as {
    url: string;
  };
  return url;
}

const SUGGESTIONS: readonly (readonly [command: string, what: string])[] = [
  ["status", "hosts, versions and certificates"],
  ["top", "who calls whom: rate, success, latency, mTLS"],
  [
    `apply -f ${EXAMPLES}/canary-90-10.yaml`,
    "nine of ten requests stay on v1; watch the shares below",
  ],
  [`apply -f ${EXAMPLES}/canary-50-50.yaml`, "and on"],
  [`apply -f ${EXAMPLES}/header-jason.yaml`, "only user jason sees v3 (red stars)"],
  [`apply -f ${EXAMPLES}/reviews-only-productpage.yaml`, "nobody but productpage may read reviews"],
  [
    "explain --from visitor --to reviews",
    "which rule refuses it, and the line that would admit it",
  ],
  [`apply -f ${EXAMPLES}/strict.yaml`, "plaintext callers are refused"],
  [
    `apply -f ${EXAMPLES}/ratings-fail.yaml`,
    "the dashboard turns red; `delete virtualservice ratings` heals",
  ],
  [`config routes --admin ${adminSocketOf(hostNamed("web"))}`, "what web's agent made of it"],
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
  const seen: LoadCounts[] = [];
  let told = 0;
  createInterface({ input: stdout }).on("line", (line) => {
    seen.push(JSON.parse(line) as LoadCounts);
    const [before, now] = [seen[0], seen.at(-1)];
    if (seen.length > SHARES_OVER) seen.shift();
    if (before === undefined || now === undefined) return;
    // What is no terminal gets a line now and then.
    told += 1;
    if (process.stdout.isTTY || told % SHARES_OVER === 0) progress.status(describe(now, before));
  });
  await interrupted;
  progress.clear();
}

/** Shares are of what came since `before`, so that a change shows at once; all else is since the start. */
export function describe(now: LoadCounts, before: LoadCounts): string {
  const fresh = Object.entries(now.versions)
    .map(([version, times]) => [version, times - (before.versions[version] ?? 0)] as const)
    .sort();
  const pages = fresh.reduce((sum, [, times]) => sum + times, 0);
  const shares = fresh.map(([version, n]) => `${version} ${Math.round((100 * n) / (pages || 1))}%`);
  const failures = Object.entries(now.failures).map(([what, times]) => `${times} ${what}`);
  const bad = failures.length === 0 ? colors.green("0 failures") : colors.red(failures.join(", "));
  return `load: ${now.keptAlive + now.fresh} pages (${now.fresh} on fresh connections), ${now.echoed} echoes, ${bad}; reviews now ${shares.join(", ")}`;
}
