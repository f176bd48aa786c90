// Facts of a healthy host of a mesh, for tests that make one of them go wrong.

import { parseAgentOptions } from "../../cli/agent-options.ts";
import type { AgentFacts, Facts } from "../../cli/check/facts.ts";
import type { Listening } from "../../cli/check/reading/sockets.ts";

export const NOW_MS = Date.UTC(2026, 10, 25, 12);
export const AGENT = { pid: 400, uid: 990 };
const HOUR_MS = 3_600_000;
const STATE_DIR = "/var/lib/ironmesh/agent";
const APP_UID = 1001;
const IDENTITY = "spiffe://mesh.test/ns/default/sa/reviews";

export const listening = (port: number, more: Partial<Listening> = {}): Listening => ({
  protocol: "tcp",
  address: "0.0.0.0",
  uid: AGENT.uid,
  pids: [AGENT.pid],
  ...more,
  port,
});

export const agentFacts = (more: Partial<AgentFacts> = {}): AgentFacts => ({
  status: {
    ...{ agentVersion: "1.0.0", host: "vm1", pid: AGENT.pid, uptimeSeconds: 3_600 },
    ...{ epoch: 1, version: 7, snapshotFrom: "server", workers: 2, threadsReplaced: 0 },
    server: { url: "https://10.0.0.5:15010", isConnected: true, lastError: undefined },
    ...{ openConnections: 3, io: "io_uring", problems: [] },
    redirect: { backend: "nft", mode: "declared", isApplied: true, problem: undefined },
  },
  snapshot: {
    ...{ epoch: 1, version: 7, trustDomain: "mesh.test", outboundPolicy: "allow_any" },
    host: { name: "vm1", identity: hostIdentity, addresses: ["10.0.0.9"] },
    workloads: [
      {
        ...{ name: "reviews-v1", namespace: "default", identity: IDENTITY },
        ...{ serviceAccount: "reviews", labels: {}, outboundPort: 15_101 },
        selector: { is: "uid", uid: APP_UID },
        ports: [
          {
            appAddress: "10.0.0.9",
            appPort: 9_080,
            protocol: "http",
            mtls: "strict",
            services: [],
          },
        ],
        authorization: { deny: [], allow: undefined } as never,
      },
    ],
    ...{ services: [], clusters: [], endpoints: [] },
  },
  certificates: [],
  members: {
    observer: "vm1",
    members: [
      {
        ...{ name: "vm2", address: "10.0.0.8", status: "alive", sinceMs: 1, incarnation: 1 },
        ...{ isDown: false, rttMs: 1 },
      },
    ],
  },
  openFilesMax: 1_048_576,
  uid: AGENT.uid,
  ...more,
});

const hostIdentity = "spiffe://mesh.test/ns/ironmesh-system/sa/host.vm1";
const certificate = (identity: string) => ({
  ...{ identity, flaw: undefined },
  notBeforeMs: NOW_MS - 6 * HOUR_MS,
  notAfterMs: NOW_MS + 18 * HOUR_MS,
});

export const healthyFacts = (more: Partial<Facts> = {}): Facts => ({
  ...{ nowMs: NOW_MS, isRoot: true, version: "1.0.0", options: parseAgentOptions([]) },
  host: {
    ...{ name: "vm1", architecture: "x64", cores: 2, namespaces: [] },
    ...{ memoryBytes: 8e9, memoryFreeBytes: 4e9, memoryLimitBytes: undefined },
    ...{ files: { open: 1_000, max: 1_000_000 }, diskFreeBytes: 5e9 },
  },
  kernel: {
    ...{ release: "6.1.0-28-amd64", hasIpv6: true, uringDisabled: 0, synCookies: 1 },
    ...{ portRange: [32_768, 60_999], reservedPorts: "" },
    conntrack: { count: 100, max: 262_144, dropped: 0, forgotten: 0 },
  },
  processes: [
    { pid: 1, uid: 0, name: "systemd", words: ["/sbin/init"] },
    { pid: 90, uid: 998, name: "chronyd", words: ["/usr/sbin/chronyd"] },
    { ...AGENT, name: "meshctl", words: ["/usr/local/bin/meshctl", "agent"] },
  ],
  sockets: [
    ...[15_001, 15_006, 15_008, 15_020, 15_053, 15_101, 15_946].map((port) => listening(port)),
    listening(15_946, { protocol: "udp" }),
    listening(9_080, { address: "::", uid: APP_UID, pids: [500] }),
  ],
  agent: { ok: true, value: agentFacts() },
  units: [
    {
      ...{ name: "ironmesh-agent.service", active: "active", enabled: "enabled" },
      ...{ result: "success", restarts: 0 },
    },
  ],
  files: {
    ok: true,
    value: {
      ...{ host: "vm1", trustDomain: "mesh.test", servers: ["https://10.0.0.5:15010"] },
      directory: { path: STATE_DIR, uid: AGENT.uid, mode: 0o700 },
      files: [{ path: `${STATE_DIR}/host.json`, uid: AGENT.uid, mode: 0o600 }],
      roots: [{ sha256: "ab".repeat(32), notAfterMs: NOW_MS + 3_650 * 24 * HOUR_MS }],
      ...{ rootsPem: "", own: { cert: "", key: "" }, damaged: [] },
      certificates: [certificate(hostIdentity), certificate(IDENTITY)],
    },
  },
  token: undefined,
  servers: [
    {
      url: "https://10.0.0.5:15010",
      outcome: {
        is: "answered",
        self: { host: "vm1", serviceAccounts: [], serverVersion: "1.0.0", wallMs: NOW_MS },
        refusal: undefined,
        clock: { aheadMs: 12, withinMs: 2 },
      },
    },
  ],
  names: {
    ...{ resolvers: ["10.0.0.1"], refusal: undefined },
    mesh: {
      ...{ name: "reviews.default.mesh", expected: "240.240.0.2" },
      answered: { is: "answer", code: "NOERROR", addresses: ["240.240.0.2"] },
    },
    outside: [{ resolver: "10.0.0.1", answered: { is: "answer", code: "NOERROR", addresses: [] } }],
  },
  firewall: { ok: true, value: { iptables: [], nft: [] } },
  redirect: { ok: true, value: { is: "done", text: "the host is as planned" } },
  trial: undefined,
  ...more,
});

/** A host that has not joined, on which nothing stands in the way. */
export const bareFacts = (more: Partial<Facts> = {}): Facts =>
  healthyFacts({
    ...{ sockets: [], agent: undefined, units: undefined, files: undefined, servers: [] },
    names: { ...healthyFacts().names, mesh: undefined },
    redirect: undefined,
    trial: { ok: true, value: { is: "works", backend: "nft" } },
    ...more,
  });
