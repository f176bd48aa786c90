// Who is who, and bytes that are no HTTP: identities by process, plaintext from a host without an agent, listeners dialled directly,
// servers that speak first.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { ADDRESS, ADDRESS6, canRun, eventually } from "../support/hosts.ts";
import type { Remote } from "../support/remote.ts";
import { Mesh } from "./mesh.ts";
import { BACKEND, UID } from "./ports.ts";

setDefaultTimeout(60_000);
const can = await canRun("identity and opaque TCP");
let mesh: Mesh;
let client: Remote;
let stranger: Remote;
let outside: Remote;
let raw: { vip4: string; vip6: string };

beforeAll(async () => {
  if (!can) return;
  mesh = await Mesh.up();
  [client, stranger, outside] = await Promise.all([
    mesh.remote("a", UID.client),
    mesh.remote("a", UID.stranger),
    mesh.remote("c", UID.outside),
  ]);
  raw = await mesh.vipOf("raw.default.mesh");
});
afterAll(() => mesh?.down());

describe.skipIf(!can)("a server that speaks first", () => {
  for (const [what, port, atMostMs] of [
    ["on a declared TCP port loses no byte and waits for nothing", 9010, 700],
    ["on an undeclared port loses no byte and waits for the deadline once", 9011, 1_900],
  ] as const) {
    test(what, async () => {
      const { vip4, vip6 } = raw;
      for (const host of [vip4, vip6]) {
        const asked = { host, port, until: "\r\n" };
        const { text, ms } = await client.run((kit, o) => kit.converse(o), asked);
        console.log(`banner on port ${port}: ${Math.round(ms)} ms`);
        expect(text).toBe("220 ready\r\n");
        expect(ms).toBeLessThan(atMostMs);
      }
    });
  }

  test("goes on speaking: an answer to each line, and the half-close comes through", async () => {
    const asked = { host: raw.vip4, port: 9010, send: "hello\r\n", ends: true };
    const { text, how } = await client.run((kit, o) => kit.converse(o), asked);
    expect([text, how]).toEqual(["220 ready\r\n250 hello\r\n221 bye\r\n", "end"]);
  });
});

describe.skipIf(!can)("opaque TCP", () => {
  test("ends one direction while the other goes on", async () => {
    const asked = { host: raw.vip4, port: 9020, send: "x".repeat(200_000), ends: true };
    const { text, how } = await client.run((kit, o) => kit.converse(o), asked);
    expect([text, how]).toEqual(["200000\n", "end"]);
  });

  test("on an undeclared port is carried from its first byte", async () => {
    const send = "\x16\x03not http at all\n";
    const asked = { host: raw.vip6, port: 9001, send, ends: true };
    const { text } = await client.run((kit, o) => kit.converse(o), asked);
    expect(text).toBe(send);
  });
});

const WHO = "GET /who HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";

describe.skipIf(!can)("identity", () => {
  test("a process of no workload has the host's identity, never a workload's", async () => {
    const { vip4 } = await mesh.vipOf("web.default.mesh");
    const asked = { host: vip4, port: 80, send: WHO };
    const own = await client.run((kit, o) => kit.converse(o), asked);
    const other = await stranger.run((kit, o) => kit.converse(o), asked);
    expect(own.text).toMatch(/URI=spiffe:\/\/[^"]*\/sa\/client"/);
    expect(other.text).toStartWith("HTTP/1.1 200");
    const who = /URI=(spiffe:[^"]*)"/.exec(other.text)?.[1];
    console.log(`a process of no workload is ${who}`);
    expect(who).toMatch(/\/host\/a$|\/sa\/.*a$/);
    expect(who).not.toContain("/sa/client");
  });

  test("plaintext of a host without an agent passes while PERMISSIVE, unproven, and is cut when STRICT", async () => {
    for (const host of [ADDRESS.b, ADDRESS6.b]) {
      const asked = { host, port: BACKEND.http, send: WHO };
      const admitted = await outside.run((kit, o) => kit.converse(o), asked);
      expect(admitted.text).toStartWith("HTTP/1.1 200");
      expect(admitted.text).not.toContain("x-forwarded-client-cert");
    }
    await mesh.apply(strictness("STRICT"));
    for (const host of [ADDRESS.b, ADDRESS6.b]) {
      const asked = { host, port: BACKEND.http, send: WHO };
      const { text, how } = await outside.run((kit, o) => kit.converse(o), asked);
      expect([text, how]).toEqual(["", "reset"]);
    }
    expect((await mesh.curl("http://web/still")).code).toBe("200");
    await mesh.apply(strictness("PERMISSIVE"));
  });

  test("a listener dialled directly is cut and counted, by whichever address and whoever dials", async () => {
    const name = "ironmesh_listener_dialled_total";
    const listeners = [15_001, 15_006, 15_101];
    const before = await mesh.metric("a", name);
    let cut = 0;
    for (const port of listeners) {
      for (const [who, host] of [
        [stranger, "127.0.0.1"],
        [stranger, "::1"],
        [stranger, ADDRESS.a],
        [client, raw.vip4],
        [outside, ADDRESS.a],
      ] as const) {
        const asked = { host, port, send: WHO, withinMs: 3_000 };
        const { text, how } = await who.run((kit, o) => kit.converse(o), asked);
        expect(`${host}:${port} ${text} ${how}`).toMatch(/^\S+ {2}(reset|refused|end)$/);
        if (how === "reset") cut++;
      }
    }
    const counted = (await mesh.metric("a", name)) - before;
    console.log(`dialled directly: ${cut} reset, ${counted} of them counted`);
    expect(counted).toBeGreaterThan(0);
  });
});

describe.skipIf(!can)("a refusal", () => {
  test("of a request is explained by the id in its answer, through the server and on the host", async () => {
    await mesh.apply(FORBIDDEN);
    const { body, code } = await mesh.curl("-D", "-", "http://web/forbidden?secret=1");
    const id = /x-ironmesh-decision: (\S+)\r/.exec(body)?.[1] ?? "";
    expect([code, id]).toEqual([
      "403",
      expect.stringMatching(/^[0-9a-z]{6}-[0-9a-z]{5}-[0-9a-z]+$/),
    ]);
    const record = await mesh.accessOf("b", "/forbidden?secret=1");
    expect(record.decision_id).toBe(id);
    const far = JSON.parse(await mesh.meshctl("explain", id, "-o", "json"));
    expect(far).toMatchObject({
      host: "b",
      record: { by: "default/forbidden", request: { method: "GET", path: "/forbidden" } },
      explanation: { verdict: "denied" },
    });
    const principal = far.record.from.identity.slice("spiffe://".length);
    expect(far.explanation.admit).toEqual([
      {
        kind: "AuthorizationPolicy",
        name: "default/forbidden",
        edit: "add",
        path: "spec.rules[0].from",
        value: { source: { notPrincipals: [principal] } },
        widens: expect.any(String),
      },
    ]);
    const { code: exit, stdout } = await mesh.explainThere("b", id, "-o", "json");
    expect([exit, JSON.parse(stdout)]).toEqual([0, far]);
    const elsewhere = await mesh.explainThere("a", id);
    expect([elsewhere.code, elsewhere.stderr]).toEqual([
      1,
      expect.stringContaining("does not know that decision"),
    ]);
  });

  test("of a connection is explained by the id in the log", async () => {
    const asked = { host: raw.vip4, port: 9000, send: "x", ends: true };
    const { text, how } = await client.run((kit, o) => kit.converse(o), asked);
    expect([text, how === "end" || how === "reset"]).toEqual(["", true]);
    const { decision_id: id = "" } = await eventually("the cut connection's record", () =>
      mesh.refusalsOf("b").find((one) => one.path === undefined),
    );
    const { explanation } = JSON.parse(await mesh.meshctl("explain", id, "-o", "json"));
    expect(explanation).toMatchObject({
      verdict: "denied",
      reason: "AuthorizationPolicy default/forbidden denies it: spec.rules[1] matches",
      asked: { to: { workload: "default/backend", port: BACKEND.echo } },
    });
  });

  test("that would be is foretold by the server and by the agent, and so is what would pass", async () => {
    const call = ["--from", "client", "--to", "web", "--port", "80", "-o", "json"];
    const fine = JSON.parse(await mesh.meshctl("explain", ...call, "--path", "/fine"));
    expect(fine.results[0].explanation.verdict).toBe("allowed");
    const identity = fine.results[0].explanation.asked.from.identity;
    const there = await mesh.explainThere("b", ...call.with(1, identity), "--path", "/forbidden");
    expect(there.code).toBe(1);
    expect(JSON.parse(there.stdout).results[0].explanation).toMatchObject({
      verdict: "denied",
      reason: "AuthorizationPolicy default/forbidden denies it: spec.rules[0] matches",
    });
    await mesh.meshctl("delete", "authorizationpolicy", "forbidden");
  });
});

describe.skipIf(!can)("HBONE of a peer without an agent", () => {
  const BACKEND_ID = expect.stringMatching(/^spiffe:\/\/[^/]+\/ns\/default\/sa\/backend$/);
  const on = (port: number): string => `${ADDRESS.b}:${port}`;

  test("is served without SNI by the identity of the host's workloads, bytes and ends both ways", async () => {
    const echoed = await mesh.hbone({
      authority: on(BACKEND.echo),
      send: "0123456789",
      times: 300_000,
    });
    const fine = { peer: BACKEND_ID, status: 200, error: "" };
    expect(echoed).toMatchObject({ ...fine, bytes: 3_000_000 });
    const counted = await mesh.hbone({ authority: on(BACKEND.counter), send: "x", times: 1_000 });
    expect(counted).toMatchObject({ ...fine, tail: "1000\n" });
    const web = await mesh.hbone({ authority: on(BACKEND.http), send: WHO });
    expect(web.tail).toContain("127.0.0.6");
    const opened = "istio_tcp_connections_opened_total";
    const labels = ["/sa/client", "mutual_tls"];
    await eventually("three connections of the client's", async () => {
      return (await mesh.metric("b", opened, 'reporter="destination"', ...labels)) >= 3;
    });
  });

  test("may name the workload's port as SNI", async () => {
    const servername = `${BACKEND.echo}.raw.backend.default.ironmesh`;
    const asked = { authority: on(BACKEND.counter), servername, send: "hello" };
    expect(await mesh.hbone(asked)).toMatchObject({ peer: BACKEND_ID, status: 200, tail: "5\n" });
  });

  test("is refused by name: what is not declared, what is no address, what policy does not admit", async () => {
    const statusOf = async (authority: string) =>
      (await mesh.hbone({ authority, send: "x" })).status;
    expect(await statusOf(on(22))).toBe(404);
    expect(await statusOf(`127.0.0.1:${BACKEND.echo}`)).toBe(404);
    expect(await statusOf(`raw.default.mesh:${BACKEND.echo}`)).toBe(400);
    const refused = "ironmesh_connections_refused_total";
    expect(await mesh.metric("b", refused, 'reason="not_declared"')).toBeGreaterThan(1);
    await mesh.apply(FORBIDDEN);
    expect(await statusOf(on(BACKEND.echo))).toBe(401);
    expect(await statusOf(on(BACKEND.counter))).toBe(200);
    await mesh.meshctl("delete", "authorizationpolicy", "forbidden");
  });

  test("is offered too: an endpoint that is marked as Istio marks it is dialled so, and must be whom it is said to be", async () => {
    await mesh.apply(`${offering("marked", "backend")}${offering("impostor", "another")}`);
    const { body } = await mesh.curl("http://marked.test/who");
    expect(body).not.toBe("");
    const { vip4: host } = await mesh.vipOf("marked.test");
    const asked = { host, port: 9000, send: "through a tunnel", until: "through a tunnel" };
    expect((await client.run((kit, o) => kit.converse(o), asked)).text).toBe("through a tunnel");
    const labels = ['destination_service="marked.test"', '"mutual_tls"', 'reporter="source"'];
    expect(await mesh.metric("a", "istio_requests_total", ...labels)).toBe(1);
    expect((await mesh.curl("http://impostor.test/impostor")).code).toBe("503");
    const failures = "ironmesh_upstream_connect_failures_total";
    expect(await mesh.metric("a", failures, 'code="wrong_identity"')).toBeGreaterThan(0);
    await mesh.meshctl("delete", "serviceentry", "marked");
    await mesh.meshctl("delete", "serviceentry", "impostor");
  });
});

const FORBIDDEN = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: forbidden }
spec:
  selector: { matchLabels: { app: backend } }
  action: DENY
  rules:
    - to: [{ operation: { ports: ["${BACKEND.http}"], paths: ["/forbidden"] } }]
    - from: [{ source: { namespaces: [default] } }]
      to: [{ operation: { ports: ["${BACKEND.echo}"] } }]
`;

const strictness = (mode: string): string => `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: ${mode} } }
`;

/** The backend, as if no agent of ours ran there. */
const offering = (name: string, account: string): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${name} }
spec:
  hosts: [${name}.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
    - { number: 80, name: http, protocol: HTTP, targetPort: ${BACKEND.http} }
    - { number: 9000, name: tcp, protocol: TCP, targetPort: ${BACKEND.echo} }
  workloadSelector: { labels: { app: ${name} } }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${name} }
spec:
  address: ${ADDRESS.b}
  serviceAccount: ${account}
  labels: { app: ${name}, networking.istio.io/tunnel: http }
---`;
