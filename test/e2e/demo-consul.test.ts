// Step 12 of the demo's check by itself: the story on a real Consul, from the built executable.
import { expect, setDefaultTimeout, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { missingRequirements } from "../../cli/demo/requirements.ts";
import { consulExecutable } from "../support/consul.ts";

const EXECUTABLE = "dist/meshctl";
const WITHIN_MS = 240_000;
const isFull = process.env["IRONMESH_TIER"] === "full";
const SLACK = isFull ? "1" : "3";
const AWAY_SECONDS = isFull ? "60" : "1";
setDefaultTimeout(WITHIN_MS + 10_000);
const missing = await missingRequirements();
if (!existsSync(EXECUTABLE)) missing.push(`${EXECUTABLE} is not built: run \`npm run build\`.`);
if (missing.length > 0) console.error(`SKIPPED: ${missing.join(" ")}`);

const run = (env: Record<string, string>, ...more: readonly string[]) =>
  spawnSync(EXECUTABLE, ["demo", "--check", "--slack", SLACK, ...more], {
    encoding: "utf8",
    timeout: WITHIN_MS,
    env: { ...process.env, ...env },
  });

test.skipIf(missing.length > 0)(
  "meshctl demo --check --part 12 holds on a real Consul, and leaves nothing behind",
  () => {
    const { status, stdout, stderr } = run(
      { IRONMESH_CONSUL: consulExecutable() },
      ...["--part", "12", "--consul-away", AWAY_SECONDS],
    );
    console.log(stdout, stderr);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^ok 12 /m);
    const left = spawnSync("ls", ["/run/netns", "/etc/netns", "/run"], { encoding: "utf8" }).stdout;
    expect(left).not.toMatch(/im-demo|ironmesh-demo/);
  },
);

test.skipIf(missing.length > 0)("without a Consul one sentence says how to get one", () => {
  const { status, stderr } = run({ IRONMESH_CONSUL: "", PATH: "/nonexistent" }, "--part", "12");
  expect(status).toBe(1);
  expect(stderr).toContain("A mesh on Consul needs a Consul, and there is none here: run");
});
