// A mesh whose config server, agents and commands all run under Deno: suites of test/e2e, started with that instead of the executable, and
// the first five steps of the demo's check.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { canRun } from "../support/hosts.ts";
import { deno } from "./deno.ts";
import { BUNDLE, makeLauncher } from "./launcher.ts";

const EXECUTABLE = "dist/meshctl";
const CHECK_STEPS = "1,2,3,4,5";
if (deno !== undefined && (await canRun("a mesh under Deno"))) underDeno(deno);

function underDeno(runtime: string): void {
  setDefaultTimeout(400_000);
  let launcher: ReturnType<typeof makeLauncher>;
  beforeAll(() => {
    launcher = makeLauncher(runtime);
  });
  afterAll(() => rmSync(launcher.directory, { recursive: true, force: true }));

  /** Runs a file of test/e2e; `pattern`: of the names of its tests. Returns how many passed: all that it names, none was skipped. */
  function suite(name: string, pattern = "."): number {
    const words = ["test", "--timeout", "180000", `test/e2e/${name}.test.ts`, "-t", pattern];
    const { status, stdout, stderr } = spawnSync(process.execPath, words, {
      encoding: "utf8",
      env: { ...process.env, IRONMESH_EXECUTABLE: launcher.path, IRONMESH_PATIENCE: "6" },
    });
    const said = stdout + stderr;
    if (status !== 0 || /^ *\d+ skip$/m.test(said)) throw new Error(said);
    return Number(/^ *(\d+) pass$/m.exec(said)?.[1]);
  }

  test("requests of every shape pass between two hosts, by redirect, name and mTLS", () => {
    expect(suite("http", "^(requests|bodies|ends)")).toBeGreaterThanOrEqual(8);
  });

  test("datagrams reach a service outside the mesh: only sealed ones need more than this runtime has", () => {
    expect(suite("http", "^datagrams to a service outside")).toBe(1);
  });

  test("names, live sessions and a host without its server live on through an agent's death", () => {
    expect(suite("life")).toBeGreaterThanOrEqual(3);
  });

  test("an agent ends in order, and says which port it cannot have", () => {
    expect(suite("start-and-stop")).toBeGreaterThanOrEqual(6);
  });

  test("meshctl demo --check holds in its first five steps", () => {
    expect([existsSync(EXECUTABLE), existsSync(BUNDLE)]).toEqual([true, true]);
    // What is claimed of Deno is that the steps hold, not how fast it takes a change.
    const words = ["demo", "--check", "--runtime", "deno", "--part", CHECK_STEPS, "--slack", "3"];
    const { status, stdout, stderr } = spawnSync(EXECUTABLE, words, {
      encoding: "utf8",
      timeout: 300_000,
      env: { ...process.env, IRONMESH_DENO: runtime },
    });
    console.log(stdout, stderr);
    expect(status).toBe(0);
    expect(stdout.match(/^ok [0-9]+ /gm)).toHaveLength(5);
  });
}
