// `meshctl config` and `status --agent` against a real admin socket that serves a compiled snapshot.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AgentStatus, LookedUpName } from "../agent/api/admin.ts";
import { answerAdmin } from "../agent/observe/admin.ts";
import { listenLocally } from "../agent/os/listening-socket.ts";
import { type LocalServer, serveLocally } from "../agent/os/local-http.ts";
import type { Snapshot } from "../agent/policy/snapshot.ts";
import { meshctl } from "../test/support/cli-terminal.ts";

const directory = mkdtempSync(join(tmpdir(), "ironmesh-admin-"));
const admin = join(directory, "admin.sock");
const golden = (name: string): Snapshot =>
  JSON.parse(readFileSync(new URL(`../test/golden/${name}/snapshot.json`, import.meta.url), "utf8"))
    .snapshot;
const status: AgentStatus = {
  agentVersion: "1.2.3",
  host: "db-1",
  pid: 7,
  uptimeSeconds: 300,
  epoch: 1,
  version: 12,
  snapshotFrom: "disk",
  server: { url: "https://mesh-1:15010", isConnected: false, lastError: "timed out" },
  workers: 2,
  io: "io_uring",
  threadsReplaced: 0,
  openConnections: 3,
  redirect: { backend: "nft", mode: "declared", isApplied: true, problem: undefined },
  problems: [],
};
let snapshot: Snapshot | undefined;
let problems: string[] = [];
let names: LookedUpName[] = [];
let server: LocalServer;

beforeAll(async () => {
  const source = {
    status: () => ({ ...status, problems }),
    snapshot: () => snapshot,
    certificates: () => [
      {
        identity: "spiffe://mesh/ns/default/sa/a",
        issuedAtMs: Date.now() - 3_600_000,
        notAfterMs: Date.now() + 23 * 3_600_000,
      },
    ],
    names: () => names,
    members: () => ({ observer: "web", members: [] }),
    metrics: () => "",
    isReady: () => true,
    renew: () => 0,
    fault: () => "not_allowed" as const,
    setAccessLog: () => {},
  };
  server = serveLocally(listenLocally(admin, undefined), (method, target) =>
    answerAdmin(source, method, target),
  );
});
afterAll(() => {
  server.close();
  rmSync(directory, { recursive: true });
});
const config = (...words: string[]) => meshctl(["config", ...words, "--admin", admin]);

test("an agent without a configuration says so", async () => {
  snapshot = undefined;
  const ran = await config("routes");
  expect(ran).toMatchObject({ exitCode: 1, err: expect.stringContaining("no snapshot yet") });
});

test("services, routes and endpoints are shown as the agent runs them", async () => {
  snapshot = golden("canary");
  const services = await config("services");
  expect(services.out).toMatch(/reviews\.default\.mesh +240\.240\.\d+\.\d+ \S+ +9080\/http/);
  const routes = await config("routes");
  expect(routes.out).toMatch(/90% outbound\|9080\|v1\|reviews\.default\.mesh, 10% outbound/);
  const endpoints = await config("endpoints");
  expect(endpoints.out).toMatch(/outbound\|9080\|v1\|reviews\.default\.mesh .* mTLS spiffe:\/\//);
  const json = JSON.parse((await config("services", "-o", "json")).out);
  expect(json).toEqual(JSON.parse(JSON.stringify(snapshot.services)));
});

test("host names of endpoints are shown with their addresses, how old these are and whose word", async () => {
  snapshot = golden("service-entry-dns");
  const known = {
    isUsed: true,
    first: "192.0.2.7",
    refused: [],
    resolver: "10.0.0.53",
    ttlSeconds: 60,
    ageSeconds: 12,
    failure: undefined,
  };
  names = [
    { ...known, name: "api.payments.example", addresses: ["192.0.2.7", "2001:db8::7"] },
    {
      ...{ ...known, name: "primary.db.example", addresses: [], ageSeconds: 86_400 },
      ...{ failure: "10.0.0.53 does not answer", refused: ["127.0.0.1: loopback"] },
    },
    {
      ...{ ...known, name: "replica.db.example", isUsed: false, addresses: [], first: undefined },
      ...{ resolver: undefined, ttlSeconds: undefined, ageSeconds: undefined },
    },
    { ...known, name: "assets.cdn.example", addresses: ["192.0.2.7", "192.0.2.8"] },
  ];
  const { out } = await config("endpoints");
  const ofPayments = "(api.payments.example:443: 12s old, for 60s, from 10.0.0.53)";
  for (const text of [
    `192.0.2.7:443 ${ofPayments}`,
    `[2001:db8::7]:443 ${ofPayments}`,
    "none (primary.db.example:6432: 24h old, for 60s, from 10.0.0.53; stale: 10.0.0.53 does not answer; not dialled: 127.0.0.1: loopback)",
    "replica.db.example:5432 (not looked up: nobody here uses it)",
    "192.0.2.7:443 (assets.cdn.example:443: ",
    " 192.0.2.9:5432 ",
  ])
    expect(out).toContain(text);
  expect(out).not.toContain("192.0.2.8");
  const json = JSON.parse((await config("endpoints", "-o", "json")).out);
  expect(json.names).toEqual(JSON.parse(JSON.stringify(names)));
});

test("policies are shown with who may do what", async () => {
  snapshot = golden("authorization");
  const { out } = await config("policies");
  expect(out).toContain("allow from principals");
  expect(out).toMatch(/permissive|strict/);
});

test("every golden snapshot can be shown in every view", async () => {
  for (const name of [
    "fault",
    "redirect",
    "direct-response",
    "tcp-routes",
    "header-match",
    "rewrite",
  ]) {
    snapshot = golden(name);
    for (const view of ["services", "routes", "endpoints", "policies"]) {
      const ran = await config(view);
      expect({ name, view, exitCode: ran.exitCode, err: ran.err }).toEqual({
        name,
        view,
        exitCode: 0,
        err: "",
      });
      expect(ran.out).not.toContain("undefined");
    }
  }
});

test("certificates are shown with the time they have left", async () => {
  expect((await config("certs")).out).toMatch(
    /spiffe:\/\/mesh\/ns\/default\/sa\/a +23h left +in about 11h/,
  );
});

test("status --agent tells whether the server is heard, and problems by exit code 1", async () => {
  const fine = await meshctl(["status", "--admin", admin]);
  expect(fine.exitCode).toBe(0);
  expect(fine.out).toMatch(/^host +db-1\n/);
  expect(fine.out).toContain("https://mesh-1:15010 NOT connected: timed out");
  problems = ["version 13 was refused"];
  const troubled = await meshctl(["status", "--admin", admin]);
  problems = [];
  expect(troubled).toMatchObject({
    exitCode: 1,
    out: expect.stringContaining("version 13 was refused"),
  });
});

test("no agent at the socket is told with what to look for", async () => {
  const ran = await meshctl(["config", "routes", "--admin", join(directory, "none.sock")]);
  expect(ran).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining("is `meshctl agent` running"),
  });
});
