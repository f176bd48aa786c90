// Builds dist/meshctl: one executable with everything in it. `bun build.ts [--target linux-arm64]`
// `bun build.ts --runtime deno` bundles the same sources into dist/deno, which `deno run` runs as they are, and compiles them to
// dist/meshctl-deno where Deno's base binary is to be had. Deno itself: IRONMESH_DENO, or what .ci/deno fetches.
// Workers are entry points of their own: inside an executable they are found only so.
import { rmSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    target: { type: "string" },
    outfile: { type: "string" },
    runtime: { type: "string", default: "bun" },
  },
});
const version = (await Bun.file("package.json").json()).version as string;
const commit =
  Bun.spawnSync(["git", "rev-parse", "--short", "HEAD"]).stdout.toString().trim() || "unknown";

/** The same for both runtimes; `words` come first. */
function bundle(...words: readonly string[]): void {
  const command = [
    process.execPath,
    "build",
    "--minify",
    "--splitting",
    "--format=esm",
    `--define=process.env.IRONMESH_VERSION="${version}"`,
    `--define=process.env.IRONMESH_COMMIT="${commit}"`,
    ...words,
    "cli/main.ts",
    "agent/worker.ts",
  ];
  const { success } = Bun.spawnSync(command, { stdout: "inherit", stderr: "inherit" });
  if (!success) throw new Error("build failed: see the messages above");
}

function buildForBun(outfile: string): void {
  rmSync(outfile, { force: true });
  bundle(
    "--compile",
    "--bytecode",
    // Not from whatever directory it is called in: a bunfig.toml there would run code, an .env would choose a context.
    "--no-compile-autoload-bunfig",
    "--no-compile-autoload-dotenv",
    ...(values.target === undefined ? [] : [`--target=bun-${values.target}`]),
    `--outfile=${outfile}`,
  );
  console.log(`built ${outfile} ${version} (${commit})`);
}

const DENO_BUNDLE = "dist/deno";

/** Exits with 1 where there is a bundle and no executable. */
function buildForDeno(outfile: string): void {
  if (values.target !== undefined) throw new Error("--runtime deno builds for this machine only");
  const deno =
    process.env["IRONMESH_DENO"] ??
    Bun.spawnSync(["bash", ".ci/deno"], { stderr: "inherit" }).stdout.toString().trim();
  rmSync(outfile, { force: true });
  rmSync(DENO_BUNDLE, { recursive: true, force: true });
  bundle("--target=node", `--outdir=${DENO_BUNDLE}`);
  console.log(`bundled ${DENO_BUNDLE} ${version} (${commit})`);
  const compiled = Bun.spawnSync(
    [
      deno,
      "compile",
      "--allow-all",
      "--no-check",
      "--no-config",
      "--no-remote",
      `--include=${DENO_BUNDLE}`,
      `--output=${outfile}`,
      `${DENO_BUNDLE}/cli/main.js`,
    ],
    { stdout: "inherit", stderr: "pipe", env: { ...process.env, NO_COLOR: "1" } },
  );
  const obstacle = compiled.success
    ? whyNotOurs(outfile)
    : whyNotCompiled(compiled.stderr.toString().trim());
  if (obstacle === undefined) {
    console.log(`built ${outfile} ${version} (${commit})`);
    return;
  }
  rmSync(outfile, { force: true });
  console.error(`no ${outfile}: ${obstacle}`);
  process.exitCode = 1;
}

const RUN_BUNDLE = `run the bundle: \`deno run --allow-all --no-remote ${DENO_BUNDLE}/cli/main.js\``;
const NAME_DENORT =
  "name the file of Deno's release denort-x86_64-unknown-linux-gnu.zip (or -aarch64-), of this very version, in DENORT_BIN";

function whyNotCompiled(said: string): string {
  return said.includes("base binary") || said.includes("denort")
    ? `\`deno compile\` puts the bundle into a base binary, denort, which is not in Deno's npm package and could not be had. Either ${NAME_DENORT}, or ${RUN_BUNDLE}. Deno said:\n${said}`
    : `\`deno compile\` failed. Deno said:\n${said}`;
}

/** Undefined: it is. \`deno compile\` takes any file as its base; into a whole Deno, say, it puts a bundle that never runs. */
function whyNotOurs(outfile: string): string | undefined {
  const started = Bun.spawnSync([resolve(outfile), "--version"], { stderr: "pipe" });
  const said = started.stdout.toString().trim() || started.stderr.toString().trim();
  if (started.success && said === `meshctl ${version} (${commit})`) return undefined;
  const base = process.env["DENORT_BIN"] ?? "what it was compiled into";
  return `${base} is no base binary of \`deno compile\`: what came out of it answers --version with "${said.split("\n")[0]}". Either ${NAME_DENORT}, or ${RUN_BUNDLE}`;
}

if (values.runtime === "bun") buildForBun(values.outfile ?? "dist/meshctl");
else if (values.runtime === "deno") buildForDeno(values.outfile ?? "dist/meshctl-deno");
else throw new Error(`--runtime ${values.runtime}: write bun or deno`);
