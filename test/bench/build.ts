// What `npm run bench` measures, built once nobody else measures it.
import { existsSync } from "node:fs";

const build = (...words: readonly string[]): boolean =>
  Bun.spawnSync([process.execPath, "build.ts", ...words], { stdout: "inherit", stderr: "inherit" })
    .success;

/** For both runtimes. Where Deno's base binary is not to be had there is no executable of its own: its bundle is what is measured. */
export function buildBoth(): void {
  if (!build()) throw new Error("build failed: see the messages above");
  if (!build("--runtime", "deno") && !existsSync("dist/deno/cli/main.js"))
    throw new Error("no bundle for Deno: see the messages above");
}
