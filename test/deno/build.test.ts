// `bun build.ts --runtime deno` where Deno's base binary is not to be had: on this machine that is so, or is made so.
import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deno } from "./deno.ts";

if (deno !== undefined) underDeno(deno);

function underDeno(runtime: string): void {
  setDefaultTimeout(120_000);
  const directory = mkdtempSync(join(tmpdir(), "ironmesh-deno-"));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  const outfile = join(directory, "meshctl-deno");
  const build = (denort: string) =>
    spawnSync(process.execPath, ["build.ts", "--runtime", "deno", `--outfile=${outfile}`], {
      encoding: "utf8",
      env: { ...process.env, IRONMESH_DENO: runtime, DENORT_BIN: denort },
    });

  test("a base binary that is not there is named, with what to do; the bundle is there", () => {
    const { status, stderr } = build(join(directory, "denort"));
    expect([status, existsSync(outfile)]).toEqual([1, false]);
    expect(stderr).toContain(`no ${outfile}: \`deno compile\` puts the bundle into a base binary`);
    expect(stderr).toContain("in DENORT_BIN, or run the bundle: `deno run");
    expect(existsSync("dist/deno/cli/main.js")).toBe(true);
  });

  test("an executable that would be a Deno, not a meshctl, is not left", () => {
    const { status, stderr } = build(runtime);
    expect([status, existsSync(outfile)]).toEqual([1, false]);
    expect(stderr).toContain(
      `${runtime} is no base binary of \`deno compile\`: what came out of it`,
    );
    expect(stderr).toMatch(/answers --version with "deno \d/);
  });
}
