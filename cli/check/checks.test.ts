import { expect, test } from "bun:test";
import {
  AGENT,
  agentFacts,
  bareFacts,
  healthyFacts,
  listening,
  NOW_MS,
} from "../../test/support/check-facts.ts";
import { parseAgentOptions } from "../agent-options.ts";
import { findingsOf } from "./all-checks.ts";
import type { AgentFacts, Facts } from "./facts.ts";
import { AS_ROOT, countsOf, type Finding } from "./finding.ts";
import type { ServerFacts } from "./reading/server.ts";

const HOUR_MS = 3_600_000;
const URL_OF_SERVER = "https://10.0.0.5:15010";
const healthy = healthyFacts();
const files = healthy.files?.ok === true ? healthy.files.value : undefined;
const problems = (facts: Facts): readonly Finding[] =>
  findingsOf(facts).filter(({ level }) => level !== "ok");

/** That this change makes one finding, and no other. */
function only(facts: Facts): Finding {
  const found = problems(facts);
  expect(found).toHaveLength(1);
  return found[0] as Finding;
}
const withHost = (host: Partial<Facts["host"]>) =>
  healthyFacts({ host: { ...healthy.host, ...host } });
const withKernel = (kernel: Partial<Facts["kernel"]>) =>
  healthyFacts({ kernel: { ...healthy.kernel, ...kernel } });
const withAgent = (more: Partial<AgentFacts>) =>
  healthyFacts({ agent: { ok: true, value: agentFacts(more) } });
const withStatus = (status: Partial<AgentFacts["status"]>) =>
  withAgent({ status: { ...agentFacts().status, ...status } });
const withServer = (outcome: ServerFacts["outcome"]) =>
  healthyFacts({ servers: [{ url: URL_OF_SERVER, outcome }] });
const withFiles = (more: object) =>
  healthyFacts({
    files: { ok: true, value: { ...(files as NonNullable<typeof files>), ...more } },
  });

test("a healthy member, and a host that could join, give no finding but ok", () => {
  expect(problems(healthy)).toEqual([]);
  expect(problems(bareFacts())).toEqual([]);
  expect(countsOf(findingsOf(healthy)).ok).toBeGreaterThan(20);
});

test("every finding that is not ok says what to do", () => {
  const worst = healthyFacts({
    ...{ agent: undefined, isRoot: false, sockets: [], redirect: { ok: false, error: AS_ROOT } },
    firewall: { ok: false, error: AS_ROOT },
    files: { ok: false, error: AS_ROOT },
    names: { ...healthy.names, resolvers: [] },
    processes: [],
    servers: [],
  });
  const found = problems(worst);
  expect(found.length).toBeGreaterThan(6);
  for (const { next } of found) expect(next).not.toBeEmpty();
});

test("the host: memory, its limit, open files, disk, architecture", () => {
  expect(only(withHost({ memoryFreeBytes: 1e8 })).level).toBe("warning");
  expect(only(withHost({ memoryLimitBytes: 1e8 })).next).toContain("MemoryMax=256M");
  expect(only(withHost({ diskFreeBytes: 1e6 })).level).toBe("error");
  expect(only(withHost({ architecture: "ppc64" })).found).toContain("ppc64");
  expect(only(withHost({ files: { open: 95, max: 100 } })).next).toBe("sysctl -w fs.file-max=200");
  expect(only(withAgent({ openFilesMax: 1_024 })).found).toContain("512 connections");
});

test("the kernel: its version, SYN cookies, io_uring, outgoing ports over the agent's", () => {
  expect(only(withKernel({ release: "4.19.0-27-amd64" })).level).toBe("error");
  expect(only(withKernel({ release: "5.10.0-33-amd64" })).level).toBe("warning");
  expect(only(withKernel({ synCookies: 2 })).next).toContain("tcp_syncookies=1");
  expect(only(withKernel({ uringDisabled: 2 })).level).toBe("warning");
  const overlap = only(withKernel({ portRange: [1_024, 60_999], reservedPorts: "15000-15060,80" }));
  expect(overlap.next).toStartWith(
    "sysctl -w net.ipv4.ip_local_reserved_ports=15000-15060,80,15946,15101",
  );
  expect(only(withKernel({ portRange: [50_000, 50_999] })).found).toContain("only 1000 ports");
});

test("conntrack: a table that is filling, that is full, that has dropped", () => {
  const conntrack = (count: number, dropped = 0, forgotten = 0) =>
    withKernel({ conntrack: { count, max: 1_000, dropped, forgotten } });
  expect(only(conntrack(750))).toMatchObject({ check: "table-full", level: "warning" });
  expect(only(conntrack(950))).toMatchObject({ check: "table-full", level: "error" });
  expect(only(conntrack(950)).next).toContain("nf_conntrack_max=2000");
  expect(only(conntrack(5, 3)).found).toContain("3 packets were dropped");
  expect(problems(withKernel({ conntrack: undefined }))).toEqual([]);
});

test("a port in another's hands is told with its holder; one that systemd keeps, or on another address, is not", () => {
  const nginx = { pid: 77, uid: 33, name: "nginx", words: ["nginx:", "master"] };
  const taken = (more: object) =>
    bareFacts({
      processes: [...healthy.processes, nginx],
      sockets: [listening(15_006, { uid: 33, pids: [77], ...more })],
    });
  const found = only(taken({}));
  expect(found).toMatchObject({ check: "taken", level: "error" });
  expect(found.found).toContain(
    "port 15006/tcp (inbound) is taken by pid 77 (nginx: nginx: master), uid 33",
  );
  expect(found.next).toContain("systemctl status 77");
  expect(problems(taken({ pids: [1] }))).toEqual([]);
  expect(problems(bareFacts({ sockets: [listening(15_001, { address: "10.0.0.9" })] }))).toEqual(
    [],
  );
  expect(
    only(bareFacts({ sockets: [listening(15_946, { protocol: "udp", pids: [90] })] })).found,
  ).toContain("15946/udp (gossip) is taken by pid 90 (chronyd");
});

test("beside a running agent: a second listener, and a port it does not listen on", () => {
  const second = healthyFacts({
    sockets: [...healthy.sockets, listening(15_008, { uid: 33, pids: [90] })],
  });
  expect(only(second).check).toBe("taken");
  const lacking = healthyFacts({ sockets: healthy.sockets.filter(({ port }) => port !== 15_008) });
  expect(only(lacking)).toMatchObject({ check: "not-listening", group: "ports" });
});

test("the agent: none, another version, nothing served, a refused version, threads that died, root", () => {
  const none = problems(healthyFacts({ agent: undefined, sockets: [] }));
  expect(none[0]).toMatchObject({ check: "not-running", level: "error" });
  const older = problems(withStatus({ agentVersion: "0.9.0" }));
  expect(older.map(({ group }) => group)).toEqual(["agent", "server"]);
  expect(older[0]?.next).toContain("meshctl upgrade");
  expect(only(withAgent({ snapshot: undefined })).check).toBe("serving");
  expect(only(withStatus({ problems: ["spec.http is odd"] })).found).toContain("spec.http is odd");
  expect(only(withStatus({ threadsReplaced: 2 })).level).toBe("warning");
  expect(only(withAgent({ uid: 0 })).level).toBe("error");
});

test("units: one that failed, one that does not come back, one that was started again", () => {
  const unit = (more: object) =>
    healthyFacts({ units: (healthy.units ?? []).map((one) => ({ ...one, ...more })) });
  expect(only(unit({ active: "failed", result: "exit-code" })).found).toContain("exit-code");
  expect(only(unit({ enabled: "disabled" })).next).toContain("systemctl enable");
  expect(only(unit({ restarts: 3 })).level).toBe("warning");
});

test("the server: away, somebody else, one that does not know the host, another version, no session", () => {
  const refused = { self: undefined, refusal: "401: this host is not a member any more" };
  const clock = { aheadMs: 0, withinMs: 1 };
  expect(only(withServer({ is: "unreachable", why: "ECONNREFUSED" }))).toMatchObject({
    level: "error",
    next: expect.stringContaining("nc -vz 10.0.0.5 15010"),
  });
  expect(
    only(withServer({ is: "not_trusted", why: "SELF_SIGNED", validMs: undefined })).level,
  ).toBe("error");
  expect(only(withServer({ is: "answered", clock, ...refused })).found).toContain(
    "not a member any more",
  );
  const self = { host: "vm1", serviceAccounts: [], serverVersion: "0.9.0", wallMs: NOW_MS };
  expect(only(withServer({ is: "answered", clock, self, refusal: undefined })).found).toContain(
    "the server runs 0.9.0, this host 1.0.0",
  );
  const server = { url: URL_OF_SERVER, isConnected: false, lastError: "ETIMEDOUT" };
  expect(only(withStatus({ server })).found).toContain("ETIMEDOUT");
});

test("of two servers one that is away is a warning", () => {
  const away = { url: "https://10.0.0.6:15010", outcome: { is: "unreachable", why: "x" } } as const;
  expect(only(healthyFacts({ servers: [...healthy.servers, away] })).level).toBe("warning");
});

test("before joining: the token's server is looked at, and an expired token is told", () => {
  const token = { host: "vm9", expiresAtMs: NOW_MS + HOUR_MS };
  const answered = {
    url: URL_OF_SERVER,
    outcome: {
      is: "answered",
      self: undefined,
      refusal: "401",
      clock: { aheadMs: 10, withinMs: 500 },
    },
  } as const;
  expect(problems(bareFacts({ token, servers: [answered] }))).toEqual([]);
  const late = bareFacts({ token: { ...token, expiresAtMs: NOW_MS - 1 }, servers: [answered] });
  expect(only(late).next).toContain("meshctl token create --host vm9");
});

test("the clock: a little off, more than certificates bear, so much that TLS refuses", () => {
  const off = (aheadMs: number) =>
    withServer({
      is: "answered",
      self: { host: "vm1", serviceAccounts: [], serverVersion: "1.0.0", wallMs: NOW_MS },
      refusal: undefined,
      clock: { aheadMs, withinMs: 5 },
    });
  expect(only(off(60_000))).toMatchObject({ group: "clock", level: "warning" });
  expect(only(off(60_000)).found).toContain("60 s behind");
  expect(only(off(-400_000))).toMatchObject({ group: "clock", level: "error" });
  expect(only(off(-400_000)).found).toContain("400 s ahead of");
  const validMs = [NOW_MS + HOUR_MS, NOW_MS + 25 * HOUR_MS] as const;
  const refused = problems(withServer({ is: "not_trusted", why: "CERT_NOT_YET_VALID", validMs }));
  expect(refused.map(({ group }) => group)).toEqual(["server", "clock"]);
  expect(refused[1]?.found).toContain("at least 3600 s behind");
  expect(
    only(healthyFacts({ processes: healthy.processes.filter(({ pid }) => pid !== 90) })),
  ).toMatchObject({
    check: "daemon",
    level: "warning",
  });
});

test("trust: modes, owners, damaged files, roots, certificates that end, are flawed or lack", () => {
  const path = "/var/lib/ironmesh/agent/host.json";
  expect(only(withFiles({ files: [{ path, uid: AGENT.uid, mode: 0o644 }] })).next).toBe(
    `chmod 600 ${path}`,
  );
  expect(only(withFiles({ files: [{ path, uid: 0, mode: 0o600 }] })).next).toBe(
    `chown -h ${AGENT.uid} ${path}`,
  );
  expect(only(withFiles({ damaged: [path] })).check).toBe("damaged");
  expect(only(withFiles({ roots: [] })).level).toBe("error");
  const root = { sha256: "00", notAfterMs: NOW_MS + 24 * HOUR_MS };
  expect(only(withFiles({ roots: [root] })).level).toBe("warning");
  const certificates = files?.certificates ?? [];
  const changed = (more: object) =>
    withFiles({
      certificates: certificates.map((one, i) => (i === 0 ? { ...one, ...more } : one)),
    });
  expect(only(changed({ notAfterMs: NOW_MS - 1 })).found).toContain("expired");
  expect(only(changed({ notAfterMs: NOW_MS + HOUR_MS })).level).toBe("warning");
  expect(only(changed({ notBeforeMs: NOW_MS + HOUR_MS })).found).toContain("valid only from");
  expect(only(changed({ flaw: "its key is another one's" })).level).toBe("error");
  expect(only(withFiles({ certificates: certificates.slice(0, 1) })).next).toContain(
    "meshctl token create --host vm1 --service-account default/reviews",
  );
});

test("names: no resolver, one that cannot be captured, one that is silent, a name that goes past the agent", () => {
  const names = (more: Partial<Facts["names"]>) =>
    healthyFacts({ names: { ...healthy.names, ...more } });
  const silence = { is: "silence", why: "no answer within 1200 ms" } as const;
  expect(only(names({ resolvers: [], outside: [], mesh: undefined })).check).toBe("resolvers");
  expect(only(names({ refusal: "resolv.conf names 127.0.0.53" })).next).toContain("no-dns");
  expect(only(names({ outside: [{ resolver: "10.0.0.1", answered: silence }] })).level).toBe(
    "warning",
  );
  const mesh = { name: "a.default.mesh", expected: "240.240.0.2" };
  const elsewhere = { is: "answer", code: "NXDOMAIN", addresses: [] } as const;
  expect(only(names({ mesh: { ...mesh, answered: elsewhere } })).found).toContain("is NXDOMAIN");
  expect(only(names({ mesh: { ...mesh, answered: silence } })).level).toBe("error");
});

test("gossip: a member never heard, and one that gets no traffic; not in an agent's first seconds", () => {
  const [member] = agentFacts().members.members;
  const pool = (more: object, uptimeSeconds = 3_600) =>
    withAgent({
      status: { ...agentFacts().status, uptimeSeconds },
      members: {
        observer: "vm1",
        members: [{ ...(member as NonNullable<typeof member>), ...more }],
      },
    });
  expect(only(pool({ status: "unheard" })).next).toContain("open 15946");
  expect(only(pool({ status: "dead", isDown: true })).found).toContain("vm2");
  expect(problems(pool({ status: "unheard" }, 2))).toEqual([]);
});

test("the redirect: not as planned, not to be had, not wanted; and the trial before joining", () => {
  const redirect = (value: NonNullable<Extract<Facts["redirect"], { ok: true }>>["value"]) =>
    only(healthyFacts({ redirect: { ok: true, value } }));
  expect(redirect({ is: "differences", lines: ["chain out is missing"] })).toMatchObject({
    level: "error",
    next: "meshctl redirect apply",
  });
  expect(redirect({ is: "failed", reason: "no such user" }).found).toContain("no such user");
  const fails = { ok: true, value: { is: "fails", reason: "no nft" } } as const;
  expect(only(bareFacts({ trial: fails })).found).toContain("no nft");
  const none = { ...healthy, options: parseAgentOptions(["--redirect", "none"]) };
  expect(problems({ ...none, redirect: undefined })).toEqual([]);
});

const ours = "-p tcp -m comment --comment x -j IRONMESH_OUT";
const natOf = (
  output: readonly string[],
  more: Readonly<Record<string, readonly string[]>> = {},
) => ({
  ...{ program: "iptables-nft", table: "nat" },
  chains: [
    { name: "OUTPUT", isBuiltIn: true, rules: output },
    ...Object.entries(more).map(([name, rules]) => ({ name, isBuiltIn: false, rules })),
  ],
});
const withRules = (...args: Parameters<typeof natOf>) =>
  healthyFacts({ firewall: { ok: true, value: { iptables: [natOf(...args)], nft: [] } } });

test("a rule before ours that takes connections is told with the command that removes it; after ours, or one that takes nothing, is not", () => {
  const docker = "! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER";
  const dnat = { DOCKER: ["-p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80"] };
  expect(only(withRules([docker, ours], dnat)).next).toBe(
    `if nothing needs it: iptables-nft -t nat -D OUTPUT ${docker}`,
  );
  expect(problems(withRules([ours, docker], dnat))).toEqual([]);
  expect(problems(withRules([docker, ours], { DOCKER: ["-j LOG"] }))).toEqual([]);
  expect(problems(withRules([docker, ours], { DOCKER: ["-j DOCKER"] }))).toEqual([]);
  expect(only(withRules(["-p tcp -j RETURN", ours])).check).toBe("order");
});

test("a native table of others whose NAT comes first is told where ours is native too", () => {
  const chain = { hook: "output", type: "nat", calls: [], turns: ["dnat"] };
  const nft = (priority: number, turns: readonly string[] = ["dnat"]) =>
    healthyFacts({
      firewall: {
        ok: true,
        value: {
          iptables: [],
          nft: [
            { ...chain, table: "inet ironmesh", name: "hook_out", priority: -101, turns: [] },
            { ...chain, table: "ip other", name: "out", priority, turns },
          ],
        },
      },
    });
  expect(only(nft(-150)).next).toContain("nft delete chain ip other out");
  expect(problems(nft(-100))).toEqual([]);
  expect(problems(nft(-150, ["drop"]))).toEqual([]);
});

test("leftovers: other meshes' rules, active or not, their programs, and rules of ours without an agent", () => {
  const active = only(
    withRules([ours, "-p tcp -j ISTIO_OUTPUT"], { ISTIO_OUTPUT: ["-j ISTIO_REDIRECT"] }),
  );
  expect(active).toMatchObject({ group: "leftovers", level: "error" });
  expect(active.found).toContain("Istio's rules are active in iptables-nft nat: ISTIO_OUTPUT");
  expect(active.next).toContain("grep -v -e ':ISTIO_'");
  for (const chain of ["CONSUL_PROXY_OUTPUT", "KUMA_MESH_OUTBOUND", "PROXY_INIT_REDIRECT"])
    expect(only(withRules([], { [chain]: [] }))).toMatchObject({
      group: "leftovers",
      level: "warning",
    });
  const dataplane = { pid: 88, uid: 100, name: "consul-dataplan", words: [] };
  expect(only(healthyFacts({ processes: [...healthy.processes, dataplane] })).found).toContain(
    "Consul",
  );
  const orphan = bareFacts({
    firewall: { ok: true, value: { iptables: [natOf([ours], { IRONMESH_OUT: [] })], nft: [] } },
  });
  expect(only(orphan).next).toBe("meshctl redirect remove");
  expect(only(withHost({ namespaces: ["im-demo-web", "mine"] })).found).toEndWith(
    "namespaces: im-demo-web",
  );
});

test("workloads: an app that is not there, on another address, or of another user", () => {
  const app = (more: object | undefined) =>
    healthyFacts({
      sockets: [
        ...healthy.sockets.filter(({ port }) => port !== 9_080),
        ...(more === undefined ? [] : [listening(9_080, { uid: 1_001, ...more })]),
      ],
    });
  expect(only(app(undefined)).check).toBe("not-listening");
  expect(only(app({ address: "127.0.0.1" })).next).toContain("address: loopback");
  expect(only(app({ uid: 33 })).found).toContain("served by uid 33, and the Workload is uid 1001");
  expect(problems(app({ address: "10.0.0.9" }))).toEqual([]);
  const missing = ["workload default/batch: this host has no slice batch.slice"];
  const { redirect } = agentFacts().status;
  expect(only(withStatus({ redirect: { ...redirect, missing } }))).toMatchObject({
    ...{ group: "workloads", check: "missing", level: "warning" },
    found: expect.stringContaining("no slice batch.slice"),
  });
});

test("without root what could not be looked at is a warning, and no error", () => {
  const facts = bareFacts({
    isRoot: false,
    firewall: { ok: false, error: AS_ROOT },
    trial: { ok: false, error: AS_ROOT },
  });
  expect(countsOf(findingsOf(facts))).toMatchObject({ error: 0, warning: 4 });
  const held = listening(15_001, { pids: [] });
  const unknown = healthyFacts({
    isRoot: false,
    agent: { ok: false, error: AS_ROOT },
    sockets: [held],
  });
  expect(problems(unknown).find(({ check }) => check === "holder")?.level).toBe("warning");
});
