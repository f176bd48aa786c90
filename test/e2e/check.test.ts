// `meshctl check` beside real agents: nothing is wrong where all is well, and what breaks is told.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync } from "node:fs";
import type { Finding } from "../../cli/check/finding.ts";
import { canRun, eventually } from "../support/hosts.ts";
import { type Member, Mesh } from "./mesh.ts";

setDefaultTimeout(60_000);
const can = await canRun("meshctl check");
let mesh: Mesh;

beforeAll(async () => {
  if (can) mesh = await Mesh.up();
});
afterAll(() => mesh?.down());

/** Of the machine that runs the tests, not of the mesh: who keeps its clock, what else it is doing. */
const OF_THE_MACHINE = ["daemon", "process", "demo"];

interface Told {
  readonly code: number;
  readonly tookMs: number;
  readonly problems: readonly Finding[];
  readonly all: readonly Finding[];
}
async function check(host: Member): Promise<Told> {
  const begunMs = performance.now();
  const { code, stdout } = await mesh.check(host);
  const tookMs = performance.now() - begunMs;
  const { findings: all } = JSON.parse(stdout) as { readonly findings: readonly Finding[] };
  const problems = all.filter(
    (one) => one.level !== "ok" && !OF_THE_MACHINE.includes(one.check) && one.group !== "host",
  );
  return { code, tookMs, problems, all };
}

describe.skipIf(!can)("meshctl check", () => {
  for (const host of ["a", "b"] as const) {
    test(`finds nothing wrong on a host of a healthy mesh, within 3 s: host ${host}`, async () => {
      const { code, tookMs, problems, all } = await check(host);
      // Port 8090 is declared, and nobody listens there.
      expect(problems.filter(({ group }) => group !== "workloads")).toEqual([]);
      expect(code).toBe(0);
      expect(tookMs).toBeLessThan(3_000);
      const texts = all.map(({ found }) => found).join("\n");
      expect(texts).toContain(`knows this host as ${host}`);
      expect(texts).toMatch(/^\S+ is 240\.240\.\d+\.\d+$/m);
      expect(texts).toContain("the host is as planned");
      expect(texts).toMatch(/^within \d\.\d s of https:/m);
    });
  }

  test("a declared port where nobody listens is a warning of its workload", async () => {
    const { problems } = await check("b");
    expect(problems).toMatchObject([
      { group: "workloads", check: "not-listening", found: expect.stringContaining("8090") },
    ]);
  });

  test("a key that others may read is told", async () => {
    const path = `${mesh.stateOf("agent-a")}/host.json`;
    chmodSync(path, 0o644);
    const { code, problems } = await check("a");
    chmodSync(path, 0o600);
    expect(code).toBe(1);
    expect(problems).toMatchObject([{ check: "mode", next: `chmod 600 ${path}` }]);
  });

  test("without its server an agent is told to have lost it, and the server not to answer", async () => {
    await mesh.kill("server");
    await eventually(
      "the agent notices",
      async () => (await mesh.status("a"))?.server.isConnected === false,
    );
    const { code, problems } = await check("a");
    expect(code).toBe(1);
    expect(
      problems.filter(({ level }) => level === "error").map(({ check: name }) => name),
    ).toEqual(["reach", "session"]);
    mesh.startServer();
    await eventually(
      "the agent is back",
      async () => (await mesh.status("a"))?.server.isConnected === true,
      20_000,
    );
  });

  test("a host whose agent was killed is told that none runs; its rules are as planned still", async () => {
    await mesh.kill("a");
    const { code, problems } = await check("a");
    expect(code).toBe(1);
    expect(problems.map(({ check: name }) => name)).toEqual(["not-running"]);
    mesh.startAgent("a");
    await mesh.untilServing("a");
    expect((await check("a")).code).toBe(0);
  });
});
