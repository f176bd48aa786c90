// UDP through two real agents: syslog's and DNS's way of talking to a service, who may and who may not, what stays untouched, and what
// lives through the death of an agent.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { ADDRESS, ADDRESS6, canRun, eventually } from "../support/hosts.ts";
import type { Remote } from "../support/remote.ts";
import type { DatagramsOptions } from "../support/remote-kit.ts";
import { type AccessLine, Mesh } from "./mesh.ts";
import { DATAGRAMS, UID } from "./ports.ts";

setDefaultTimeout(60_000);
const can = await canRun("datagrams");
let mesh: Mesh;
let client: Remote;
let stranger: Remote;
let neighbour: Remote;
let app: Remote;
let outside: Remote;
let logs: { vip4: string; vip6: string };
let names: { vip4: string; vip6: string };

beforeAll(async () => {
  if (!can) return;
  mesh = await Mesh.up();
  [client, stranger, neighbour, app, outside] = await Promise.all([
    mesh.remote("a", UID.client),
    mesh.remote("a", UID.stranger),
    mesh.remote("b", UID.stranger),
    mesh.remote("b", UID.datagrams),
    mesh.remote("c", UID.outside),
  ]);
  await app.run((kit, port) => kit.echoDatagrams(port), DATAGRAMS.echo);
  await app.run((kit, port) => kit.echoDatagrams(port), DATAGRAMS.undeclared);
  const resolver = await mesh.remote("b", 0);
  await resolver.run((kit, address) => kit.serveNames(address, "192.0.2.77"), ADDRESS.b);
  await mesh.apply(WORKLOADS);
  logs = await mesh.vipOf("logs.default.mesh");
  names = await mesh.vipOf("names.default.mesh");
  await untilAnswered(client);
});
afterAll(async () => {
  if (process.env["UDP_LOGS"] === "1")
    for (const name of ["agent-a", "agent-b"]) console.log(name, mesh.log(name));
  await mesh?.down();
});

const send = (who: Remote, options: DatagramsOptions): Promise<(number | string)[]> =>
  who.run((kit, o) => kit.datagrams(o), options);
const ask = (who: Remote, options: Partial<DatagramsOptions> = {}): Promise<(number | string)[]> =>
  send(who, { host: logs.vip4, port: 514, sizes: [64], ...options });
const untilAnswered = (who: Remote): Promise<boolean> =>
  eventually("an answer", async () => (await ask(who, { withinMs: 300 })).length === 1, 20_000);
const seenByApp = (): Promise<[string, number][]> => app.run((kit) => [...kit.counts]);
const forgetSeen = (): Promise<void> => app.run((kit) => kit.counts.clear());
const dropped = (host: "a" | "b", reason: string): Promise<number> =>
  mesh.metric(host, "ironmesh_udp_dropped_total", `reason="${reason}"`);

interface FlowLine extends AccessLine {
  readonly protocol?: string;
  readonly upstream_cluster?: string;
  readonly datagrams_received?: number;
  readonly datagrams_sent?: number;
}
const flowsOf = (host: "a" | "b"): FlowLine[] =>
  mesh
    .log(`agent-${host}`)
    .split("\n")
    .filter((line) => line.startsWith('{"start_time"'))
    .map((line) => JSON.parse(line) as FlowLine)
    .filter(({ protocol }) => protocol === "UDP");

describe.skipIf(!can)("datagrams to a declared port", () => {
  test("arrive whole, each as one, and so do their answers, over IPv4 and IPv6, by service and by endpoint", async () => {
    const sizes = [0, 1, 512, 1_400, 9_000, 65_000];
    for (const [host, port] of [
      [logs.vip4, 514],
      [logs.vip6, 514],
      [ADDRESS.b, DATAGRAMS.echo],
    ] as const) {
      const answers = await ask(client, { host, port, sizes });
      expect([host, answers.toSorted((x, y) => Number(x) - Number(y))]).toEqual([host, sizes]);
    }
  });

  test("of one socket are one flow to the app, those of another socket are another", async () => {
    await forgetSeen();
    for (const socket of ["one", "two"])
      for (let i = 0; i < 5; i++)
        expect(await ask(client, { socket, sizes: [10 + i] })).toEqual([10 + i]);
    const seen = await seenByApp();
    expect(seen.map(([, count]) => count)).toEqual([5, 5]);
  });

  test("of a caller on the same host, by loopback too, take the same way", async () => {
    expect(await ask(neighbour)).toEqual([64]);
    const answers = await send(neighbour, {
      host: "127.0.0.1",
      port: DATAGRAMS.echo,
      sizes: [33],
    });
    expect(answers).toEqual([33]);
    expect(
      await mesh.metric(
        "b",
        "ironmesh_udp_received_datagrams_total",
        'reporter="source"',
        'connection_security_policy="mutual_tls"',
      ),
    ).toBeGreaterThanOrEqual(2);
  });

  test("a name is asked of a resolver that is a service, and the host's own resolver is asked as ever", async () => {
    const resolved = (server: string): Promise<string> =>
      client.run((kit, s) => kit.query(s, "www.example.org"), server);
    expect(await resolved(names.vip4)).toBe("192.0.2.77");
    expect(await resolved(ADDRESS.c)).toBe("192.0.2.53");
    const meshName = await client.run((kit, s) => kit.query(s, "logs"), ADDRESS.c);
    expect(meshName).toBe(logs.vip4);
  });

  test("are counted at both ends as the caller's and the called one's", async () => {
    const labels = ['request_protocol="udp"', 'destination_service_name="logs"'];
    for (const [host, reporter] of [
      ["a", "source"],
      ["b", "destination"],
    ] as const) {
      const count = (name: string): Promise<number> =>
        mesh.metric(
          host,
          name,
          ...labels,
          `reporter="${reporter}"`,
          'source_workload="client"',
          'connection_security_policy="mutual_tls"',
        );
      const before = await count("ironmesh_udp_received_datagrams_total");
      expect(await ask(client, { sizes: [100, 100, 100] })).toHaveLength(3);
      const grown = async (): Promise<boolean> =>
        (await count("ironmesh_udp_received_datagrams_total")) === before + 3;
      expect(await eventually(`three datagrams counted on ${host}`, grown)).toBe(true);
      expect(await count("ironmesh_udp_flows_opened_total")).toBeGreaterThan(0);
      expect(await count("ironmesh_udp_sent_bytes_total")).toBeGreaterThanOrEqual(300);
    }
  });
});

describe.skipIf(!can)("the wire between hosts", () => {
  test("shows no payload of theirs, while undeclared UDP is seen there as it is", async () => {
    const words = ["tcpdump", "-i", "any", "-n", "-x", "-U", "--immediate-mode", "udp"];
    const tap = mesh.hosts.spawn("c", words, { uid: 0, log: "wire" });
    const wire = (): string => mesh.log("wire").replaceAll(" ", "");
    const fillingOf = (size: number): string =>
      ((size * 7 + 1) & 255).toString(16).padStart(2, "0").repeat(16);
    await eventually("tcpdump listens", () => mesh.log("wire").includes("listening on"));
    expect(await ask(client, { sizes: [300] })).toEqual([300]);
    const open = { host: ADDRESS.b, port: DATAGRAMS.undeclared, sizes: [301] };
    expect(await send(client, open)).toEqual([301]);
    await eventually("undeclared UDP on the wire", () => wire().includes(fillingOf(301)));
    tap.kill();
    expect(mesh.log("wire")).toMatch(/10\.79\.1\.1\.\d+ > 10\.79\.1\.2\.15008: UDP, length 328/);
    expect(mesh.log("wire")).toMatch(/10\.79\.1\.2\.15008 > 10\.79\.1\.1\.\d+: UDP, length 328/);
    expect(wire()).not.toContain(fillingOf(300));
  });
});

describe.skipIf(!can)("who may call", () => {
  test("a policy of the called workload decides by the caller's identity, and each refusal has an id that is explained", async () => {
    await mesh.apply(CLIENT_ONLY);
    await eventually("the stranger is refused", async () => {
      return (await ask(stranger, { withinMs: 300 })).length === 0;
    });
    expect(await ask(client)).toEqual([64]);
    await forgetSeen();
    const before = await dropped("b", "denied");
    expect(await ask(stranger, { socket: "refused", sizes: [1, 2, 3], withinMs: 500 })).toEqual([]);
    expect((await dropped("b", "denied")) - before).toBe(3);
    expect(await seenByApp()).toEqual([]);
    const { decision_id: id = "" } = await eventually("the refused flow's record", () =>
      mesh.refusalsOf("b").find((one) => (one as FlowLine).protocol === "UDP"),
    );
    const { explanation } = JSON.parse(await mesh.meshctl("explain", id, "-o", "json"));
    expect(explanation).toMatchObject({
      verdict: "denied",
      asked: { to: { workload: "default/logs", port: DATAGRAMS.echo } },
    });
    // A flow that goes on is judged anew, without another socket.
    await mesh.meshctl("delete", "authorizationpolicy", "client-only");
    await eventually("the stranger is heard", async () => {
      return (await ask(stranger, { socket: "refused", withinMs: 300 })).length === 1;
    });
  });

  test("what another host sends past the mesh is neither passed on nor answered, and is counted", async () => {
    await forgetSeen();
    for (const host of [ADDRESS.b, ADDRESS6.b]) {
      const before = await dropped("b", "plaintext_to_strict");
      const options = { host, port: DATAGRAMS.echo, sizes: [1, 2], withinMs: 500 };
      expect(await send(outside, options)).toEqual([]);
      expect((await dropped("b", "plaintext_to_strict")) - before).toBe(2);
    }
    expect(await seenByApp()).toEqual([]);
  });

  test("undeclared UDP is nobody's business: it passes, in both directions, as without a mesh", async () => {
    for (const host of [ADDRESS.b, ADDRESS6.b])
      for (const who of [client, outside, neighbour]) {
        const options = { host, port: DATAGRAMS.undeclared, sizes: [5, 6_000] };
        expect((await send(who, options)).toSorted()).toEqual([5, 6_000]);
      }
    expect(await dropped("a", "not_declared")).toBe(0);
  });
});

describe.skipIf(!can)("the death of an agent", () => {
  for (const who of ["b", "a"] as const)
    test(`on ${who === "b" ? "the called" : "the calling"} host loses datagrams until it is back, shows nobody any, and the same socket goes on`, async () => {
      expect(await ask(client, { socket: "survivor" })).toEqual([64]);
      await mesh.kill(who);
      await forgetSeen();
      expect(await ask(client, { socket: "survivor", withinMs: 500 })).toEqual([]);
      expect(await seenByApp()).toEqual([]);
      mesh.startAgent(who);
      await mesh.untilServing(who);
      await eventually(
        "an answer again",
        async () => {
          return (await ask(client, { socket: "survivor", withinMs: 300 })).length === 1;
        },
        20_000,
      );
    });
});

describe.skipIf(!can)("the end", () => {
  test("of a declaration ends its flows, each with one line at both ends, and leaves no rule behind", async () => {
    const socket = "logged";
    for (let i = 0; i < 7; i++) expect(await ask(client, { socket })).toEqual([64]);
    await mesh.meshctl("delete", "workload", "logs");
    for (const [host, cluster] of [
      ["a", /logs\.default\.mesh/],
      ["b", /^inbound\|5140\|\|$/],
    ] as const) {
      const line = await eventually(`the flow's line on ${host}`, () =>
        flowsOf(host).find(
          (flow) => flow.datagrams_received === 7 && cluster.test(flow.upstream_cluster ?? ""),
        ),
      );
      expect(line).toMatchObject({ datagrams_sent: 7, response_flags: "-" });
      expect(line.downstream_peer_identity).toMatch(/\/sa\/client$/);
    }
    expect((await mesh.redirect("a", "remove")).code).toBe(0);
    const left = await mesh.hosts.run("a", ["sh", "-c", "ip rule; ip -6 rule; nft list ruleset"], {
      uid: 0,
    });
    expect(left.stdout).not.toMatch(/554d|tproxy|ironmesh/i);
  });
});

const WORKLOADS = `
apiVersion: ironmesh.dev/v1
kind: Workload
metadata: { name: logs, labels: { app: logs } }
spec:
  hosts: [b]
  serviceAccount: backend
  process: { uid: ${UID.datagrams} }
  services:
    - name: logs
      ports: [{ port: 514, targetPort: ${DATAGRAMS.echo}, protocol: UDP }]
---
apiVersion: ironmesh.dev/v1
kind: Workload
metadata: { name: names }
spec:
  hosts: [b]
  serviceAccount: backend
  process: { uid: 0 }
  services:
    - name: names
      ports: [{ port: 53, targetPort: ${DATAGRAMS.names}, name: udp-dns }]
`;

const CLIENT_ONLY = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: client-only }
spec:
  selector: { matchLabels: { app: logs } }
  action: ALLOW
  rules:
    - from: [{ source: { principals: ["*/sa/client"] } }]
      to: [{ operation: { ports: ["${DATAGRAMS.echo}"] } }]
`;
