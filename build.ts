// Builds dist/meshctl: one executable with everything in it. `bun build.ts [--target linux-arm64]`
// Workers are entry points of their own: inside an executable they are found only so.
import { rmSync } from "node:fs";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: { target: { type: "string" }, outfile: { type: "string" } },
});
const outfile = values.outfile ?? "dist/meshctl";
rmSync(outfile, { force: true });
const version = (await Bun.file("package.json").json()).version as string;
const commit =
  Bun.spawnSync(["git", "rev-parse", "--short", "HEAD"]).stdout.toString().trim() || "unknown";
const result = Bun.spawnSync(
  [
    process.execPath,
    "build",
    "--compile",
    "--minify",
    "--bytecode",
    "--splitting",
    "--format=esm",
    // Not from whatever directory it is called in: a bunfig.toml there would run code, an .env would choose a context.
    "--no-compile-autoload-bunfig",
    "--no-compile-autoload-dotenv",
    ...(values.target === undefined ? [] : [`--target=bun-${values.target}`]),
    `--define=process.env.IRONMESH_VERSION="${version}"`,
    `--define=process.env.IRONMESH_COMMIT="${commit}"`,
    `--outfile=${outfile}`,
    "cli/main.ts",
    "agent/worker.ts",
  ],
  { stdout: "inherit", stderr: "inherit" },
);
if (!result.success) throw new Error("build failed: see the messages above");
console.log(`built ${outfile} ${version} (${commit})`);
