import { afterAll, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { AGENT_CONFIG, AGENT_CONFIG_TEXT, AGENT_FILES, EXECUTABLE } from "./unit-files.ts";

const UNITS = readdirSync("systemd").filter((name) => name.endsWith(".service"));
const textOf = (name: string): string => readFileSync(join("systemd", name), "utf8");
const hasSystemd = Bun.which("systemd-analyze") !== null;
if (!hasSystemd) console.error("no systemd-analyze here: its judgement of the units is left out");
const root = mkdtempSync(join(tmpdir(), "im-units-"));
afterAll(() => rmSync(root, { recursive: true }));

test("what the executable carries is what systemd/ says", () => {
  expect(AGENT_FILES.map(({ source }) => source).sort()).toEqual(
    readdirSync("systemd")
      .filter((name) => !name.startsWith("ironmesh-server"))
      .sort(),
  );
  for (const { source, text } of AGENT_FILES) expect(text).toBe(textOf(source));
});

test("units start the installed executable with the file of options that join writes", () => {
  for (const name of UNITS) {
    expect(textOf(name)).toContain(`ExecStart=${EXECUTABLE} `);
    // It would switch the runtime's JIT off without a word.
    expect(textOf(name)).not.toMatch(/^MemoryDenyWriteExecute/m);
  }
  expect(textOf("ironmesh-agent.service")).toContain(`--config ${AGENT_CONFIG}\n`);
  expect(AGENT_CONFIG_TEXT.split("\n").every((line) => line === "" || line.startsWith("#"))).toBe(
    true,
  );
});

/** A root that has what the units name, and systemd's own units. */
function makeRoot(): void {
  for (const path of [EXECUTABLE, "/bin/kill"]) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), "#!/bin/sh\n", { mode: 0o755 });
  }
  mkdirSync(join(root, "etc/systemd/system"), { recursive: true });
  mkdirSync(join(root, "usr/lib/systemd"), { recursive: true });
  spawnSync("cp", ["-r", "/lib/systemd/system", join(root, "usr/lib/systemd/system")]);
  for (const name of UNITS) writeFileSync(join(root, "etc/systemd/system", name), textOf(name));
}

for (const name of UNITS) {
  test(`systemd understands every line of ${name} and exposes it below 3`, () => {
    if (!hasSystemd) return;
    makeRoot();
    const verify = ["verify", `--root=${root}`, `/etc/systemd/system/${name}`];
    const verified = spawnSync("systemd-analyze", verify, { encoding: "utf8" });
    const about = verified.stderr.split("\n").filter((line) => line.includes("ironmesh"));
    expect(about).toEqual([]);
    const offline = ["security", "--offline=true", "--no-pager", `systemd/${name}`];
    const { stdout } = spawnSync("systemd-analyze", offline, { encoding: "utf8" });
    const exposure = Number(/exposure level for \S+: ([0-9.]+)/.exec(stdout)?.[1] ?? 10);
    expect(exposure).toBeLessThan(3);
  });
}
