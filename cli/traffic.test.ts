// `edges`, `stat` and `top` against a real server whose hosts tell of traffic over their sessions.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { GraphView } from "../agent/api/edges.ts";
import { meshctl as runMeshctl } from "../test/support/cli-terminal.ts";
import { ReportingMesh, sample } from "../test/support/reporting-mesh.ts";

const directory = mkdtempSync(join(tmpdir(), "ironmesh-traffic-"));
const env = { IRONMESH_CONFIG: join(directory, "contexts.json") };
const meshctl = (...words: string[]) => runMeshctl(words, { env });
let mesh: ReportingMesh;

beforeAll(async () => {
  mesh = await ReportingMesh.start();
  const { url, caSha256, operatorTokenFile } = mesh.registry;
  await meshctl("login", url, "--ca-sha256", caSha256, "--token-file", operatorTokenFile);
  await mesh.declare("vm1", "web");
  await mesh.declare("vm2", "shop", "ledger");
  await mesh.join("vm1", "10.0.0.1", "web");
  await mesh.join("vm2", "10.0.0.2", "shop", "ledger");
});
afterAll(async () => {
  await mesh.close();
  rmSync(directory, { recursive: true });
});

test("before any traffic the tables say why they are empty", async () => {
  const edges = await meshctl("edges");
  expect(edges).toMatchObject({
    exitCode: 0,
    out: expect.stringContaining("no traffic was reported yet"),
  });
  const stat = await meshctl("stat");
  expect(stat.out).toMatch(/^ledger +1 +v1 +0 +- +- /m);
});

test("edges shows what fails first, with its reason, and ends in 1", async () => {
  const unreachable = { failed: 60, answers: [{ status: 503, flags: "UF", count: 60 }] };
  const bytes = {
    protocol: "tcp",
    requests: 0,
    latencies: [],
    opened: 60,
    sentBytes: 120e6,
  } as const;
  await mesh.steady({
    vm1: [sample("web", "shop"), sample("web", "ledger", { ...bytes, security: "none" })],
    vm2: [sample("shop", "ledger", unreachable)],
  });
  const { exitCode, out, err } = await meshctl("edges");
  expect(exitCode).toBe(1);
  expect(err).toBe("");
  const [head, first, ...rest] = out.split("\n").map((line) => line.replaceAll(/ {2,}/g, " | "));
  expect(head).toBe("FROM | TO | PROTOCOL | RATE | SUCCESS | P50 | P95 | P99 | MTLS | PROBLEM");
  expect(first).toBe(
    "shop | ledger | http | 10.0/s | 90.00 % | 7.5 ms | 9.8 ms | 9.9 ms | yes | 10 % failed, most by 503 UF (the endpoint could not be reached)",
  );
  expect(rest.sort()).toEqual([
    "web | ledger | tcp | 1.0 conn/s, 2.0 MB/s | 100 % | - | - | - | NO",
    "web | shop | http | 10.0/s | 100 % | 7.5 ms | 9.8 ms | 9.9 ms | yes",
  ]);
});

test("a failing edge is red where there is colour, and only there", async () => {
  const coloured = await runMeshctl(["edges"], { env, isColour: true });
  expect(coloured.out).toContain("\x1b[31mshop\x1b[39m");
  expect((await meshctl("edges")).out).not.toContain("\x1b");
});

test("programs get figures, by service and by workload", async () => {
  const graph = JSON.parse(
    (await meshctl("edges", "-o", "json", "--workloads", "-w", "1m")).out,
  ) as GraphView;
  expect(graph.windowSeconds).toBe(60);
  expect(graph.edges[0]).toMatchObject({
    source: "workload/default/shop",
    destination: "workload/default/ledger",
    health: "failing",
    figures: {
      requests: expect.closeTo(600, -1),
      requestsPerSecond: expect.closeTo(10, 1),
      successRatio: expect.closeTo(0.9, 5),
    },
  });
  expect((await meshctl("stat", "-o", "yaml")).out).toContain("windowSeconds: 60");
});

test("stat adds up all callers of a service", async () => {
  const { out } = await meshctl("stat");
  // 600 requests and 60 connections, of which 60 failed.
  expect(out).toMatch(/^ledger +1 +v1 +2 +10\.0\/s +90\.90 %/m);
  expect(out).toMatch(/^web +1 +v1 +0 +- +- /m);
});

test("top prints as many rounds as asked, and redraws only on a terminal", async () => {
  const piped = await meshctl("top", "--rounds", "2", "--every", "1", "-w", "60s");
  expect(piped.out.match(/UTC {3}last 60 s/g)).toHaveLength(2);
  expect(piped.out).not.toContain("\x1b");
  const terminal = await runMeshctl(["top", "--rounds", "1"], { env, isColour: true });
  expect(terminal.out.startsWith("\x1b[H\x1b[J")).toBe(true);
});

test("a window or a round that makes no sense is refused in words", async () => {
  expect(await meshctl("edges", "-w", "5 minutes")).toMatchObject({
    exitCode: 2,
    err: expect.stringContaining("is no window"),
  });
  expect(await meshctl("edges", "-w", "2h")).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining("from 10 to 3600"),
  });
  expect(await meshctl("top", "--every", "0")).toMatchObject({ exitCode: 2 });
});

test("a namespace shows its own edges, also those that leave it", async () => {
  expect((await meshctl("edges", "-n", "default")).out.split("\n")).toHaveLength(4);
  expect((await meshctl("edges", "-n", "nowhere")).out).toContain("no traffic was reported yet");
});

test("a host that tells of another's workload is refused, counted, and shown to who asks", async () => {
  mesh.pass(5_000);
  await mesh.tell("vm1", [sample("shop", "ledger", { failed: 600 })]);
  const { err } = await meshctl("edges");
  expect(err).toContain("1 samples were refused (not its workload)");
});

test("dashboard tells where the page is and whom to trust there, and the token only when asked", async () => {
  const { url, caSha256, trustBundle } = mesh.registry;
  const told = await meshctl("dashboard");
  expect(told).toMatchObject({ exitCode: 0 });
  expect(told.out).toContain(`${url}/`);
  expect(told.out).toContain(caSha256);
  expect(told.out).not.toContain(mesh.operatorToken);
  expect((await meshctl("dashboard", "--token")).out).toBe(mesh.operatorToken);
  expect((await meshctl("dashboard", "--ca")).out).toBe((trustBundle[0] ?? "").trimEnd());
});
