// The executable as such: what it takes from where it is called. It runs as root in other people's directories.
import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const EXECUTABLE = resolve("dist/meshctl");
const isBuilt = existsSync(EXECUTABLE);
if (!isBuilt) console.error("SKIPPED: dist/meshctl is not built: run `npm run build`.");

test.skipIf(!isBuilt)(
  "a bunfig.toml in the working directory runs no code, and an .env there chooses no context",
  () => {
    const cwd = mkdtempSync(join(tmpdir(), "ironmesh-cwd-"));
    writeFileSync(join(cwd, "bunfig.toml"), 'preload = ["./preload.ts"]\n');
    writeFileSync(join(cwd, "preload.ts"), 'console.log("ran code");\n');
    writeFileSync(join(cwd, ".env"), "IRONMESH_CONFIG=/nowhere/chosen-by-env.json\n");
    const { stdout, stderr } = spawnSync(EXECUTABLE, ["get", "virtualservices"], {
      cwd,
      encoding: "utf8",
      env: { HOME: cwd },
    });
    expect(stdout + stderr).not.toContain("ran code");
    expect(stdout + stderr).not.toContain("chosen-by-env");
    expect(stdout + stderr).toContain("contexts.json");
  },
);

test.skipIf(!isBuilt)("what it prints reaches a reader that is slower than a pipe is long", () => {
  const cwd = mkdtempSync(join(tmpdir(), "ironmesh-pipe-"));
  const wrong =
    'apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: { name: "?" }\n';
  writeFileSync(join(cwd, "wrong.yaml"), Array(2_000).fill(wrong).join("---\n"));
  const script = `"${EXECUTABLE}" validate -f wrong.yaml -o json | (sleep 1; cat)`;
  const { stdout } = spawnSync("sh", ["-c", script], { cwd, encoding: "utf8", maxBuffer: 1 << 26 });
  expect(stdout.length).toBeGreaterThan(200_000);
  expect((JSON.parse(stdout) as { problems: unknown[] }).problems.length).toBeGreaterThan(2_000);
  const { status } = spawnSync("sh", ["-c", script.replace("(sleep 1; cat)", "head -c 10")], {
    cwd,
  });
  expect(status).toBe(0); // and a reader that leaves early holds nobody up
});
