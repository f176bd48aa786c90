// `meshctl explain --from A --to B` against a real server.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExplainAnswer } from "../agent/api/explain.ts";
import { meshctl as runMeshctl } from "../test/support/cli-terminal.ts";
import { ask } from "../test/support/config-server-client.ts";
import { ReportingMesh } from "../test/support/reporting-mesh.ts";

const directory = mkdtempSync(join(tmpdir(), "ironmesh-explain-"));
const env = { IRONMESH_CONFIG: join(directory, "contexts.json") };
const explain = (...words: string[]) => runMeshctl(["explain", ...words], { env });
let mesh: ReportingMesh;

const policy = (name: string, spec: object, namespace = "default") => ({
  apiVersion: "security.istio.io/v1",
  kind: "AuthorizationPolicy",
  metadata: { name, namespace },
  spec,
});

beforeAll(async () => {
  mesh = await ReportingMesh.start();
  const { url, caSha256, operatorTokenFile } = mesh.registry;
  const known = ["--ca-sha256", caSha256, "--token-file", operatorTokenFile];
  await runMeshctl(["login", url, ...known], { env });
  await mesh.declare("vm1", "web", "batch");
  await mesh.declare("vm2", "shop");
  await mesh.join("vm1", "10.0.0.1", "web", "batch");
  await mesh.join("vm2", "10.0.0.2", "shop");
  const readers = {
    selector: { matchLabels: { app: "shop" } },
    rules: [
      {
        from: [{ source: { principals: ["*/ns/default/sa/web"] } }],
        to: [{ operation: { methods: ["GET"] } }],
      },
    ],
  };
  await mesh.apply([policy("shop-readers", readers)]);
});
afterAll(async () => {
  await mesh.close();
  rmSync(directory, { recursive: true });
});

describe("a call that is refused", () => {
  test("names policy, rule, clause and the line that admits it, and ends in 1", async () => {
    const { exitCode, out } = await explain("--from", "batch", "--to", "shop");
    expect(exitCode).toBe(1);
    expect(out.split("\n")).toEqual([
      "DENIED  spiffe://mesh.test/ns/default/sa/batch -> default/shop port 20002: GET / (shop)",
      "AuthorizationPolicy default/shop-readers does not allow it: no rule matches",
      "",
      "  PeerAuthentication (none: the default) PERMISSIVE: passes",
      "  AuthorizationPolicy default/shop-readers ALLOW: does not match",
      "    spec.rules[0].from[0].source.principals: has */ns/default/sa/web; asked mesh.test/ns/default/sa/batch",
      "",
      "to admit it:",
      "  in AuthorizationPolicy default/shop-readers, at spec.rules[0].from[0].source.principals, add",
      "    - mesh.test/ns/default/sa/batch",
      "    this admits the caller, to all that spec.rules[0] allows",
    ]);
  });

  test("for scripts the same as JSON", async () => {
    const words = ["--from", "web", "--to", "shop", "--method", "DELETE", "--path", "/a/1"];
    const { exitCode, out } = await explain(...words, "-o", "json");
    expect(exitCode).toBe(1);
    const answer = JSON.parse(out) as ExplainAnswer;
    expect(answer.results[0]).toMatchObject({
      hosts: ["vm2"],
      explanation: {
        verdict: "denied",
        asked: { request: { method: "DELETE", path: "/a/1", host: "shop" } },
        admit: [{ name: "default/shop-readers", path: "spec.rules[0].to[0].operation.methods" }],
      },
    });
  });

  test("in red where there is colour", async () => {
    const coloured = await runMeshctl(["explain", "--from", "batch", "--to", "shop"], {
      env,
      isColour: true,
    });
    expect(coloured.out).toContain("\x1b[31mDENIED\x1b[39m");
  });
});

test("a call that is allowed ends in 0 and says by which rule", async () => {
  for (const from of [
    "web",
    "default/web",
    "web.default.mesh",
    "spiffe://mesh.test/ns/default/sa/web",
    "mesh.test/ns/default/sa/web",
  ]) {
    const { exitCode, out } = await explain("--from", from, "--to", "shop.default");
    expect({ from, exitCode }).toEqual({ from, exitCode: 0 });
    expect(out).toContain("allows it: spec.rules[0] matches");
  }
});

test("a host speaks for its processes of no workload, and plaintext for nobody", async () => {
  const host = await explain("--from", "vm1", "--to", "shop");
  expect(host.out).toContain("asked mesh.test/ns/ironmesh-system/sa/host.vm1");
  expect(host.out).toContain("every process there that no Workload names");
  const nobody = await explain("--from", "plaintext", "--to", "shop", "--address", "10.9.9.9");
  expect(nobody.out).toContain("plaintext from 10.9.9.9");
  expect(nobody.out).toContain("asked no identity");
  expect(nobody.out).toContain("        ipBlocks:\n          - 10.9.9.9");
});

test("what has no answer says what would", async () => {
  const cases: [words: string[], exitCode: number, says: string][] = [
    [["--from", "bacth", "--to", "shop"], 1, "did you mean batch?"],
    [["--from", "web", "--to", "shpo"], 1, "did you mean shop?"],
    [["--from", "web", "--to", "shop", "--port", "81"], 1, "its ports: 80; choose one with --port"],
    [["--from", "web", "--to", "shop", "--tcp"], 1, "port 20002 speaks HTTP"],
    [["--from", "web", "--to", "shop", "--sni", "shop"], 1, "port 20002 is not of TLS"],
    [["--from", "web", "--to", "shop", "--sni", "a/b"], 1, '"a/b" is no server name'],
    [["--from", "web", "--to", "shop", "--path", "a"], 1, "must begin with `/`"],
    [["nonsense"], 1, "x-ironmesh-decision, and in the agent's log"],
    [["000000-00000-1"], 1, "no host of this mesh has made that decision"],
    [["000000-00000-1", "--from", "web"], 2, "leave --from and --to out"],
    [["--from", "web"], 2, "or give the id of a decision"],
    [["--from", "web", "--to", "shop", "--port", "many"], 2, "is no port"],
    [["--from", "web", "--to", "shop", "--header", "x"], 2, "write NAME=VALUE"],
  ];
  for (const [words, exitCode, says] of cases) {
    const ran = await explain(...words);
    expect({ words, ...ran }).toEqual({
      words,
      exitCode,
      out: "",
      err: expect.stringContaining(says),
    });
  }
});

test("only operators may ask, and only what is asked is taken", async () => {
  const body = { from: "web", to: "shop" };
  const { registry } = mesh;
  expect((await ask(registry, "POST", "/v1/explain", body)).status).toBe(401);
  expect((await ask(registry, "POST", "/v1/explain", body, { operator: "x" })).status).toBe(401);
  expect((await mesh.ask("POST", "/v1/explain", { ...body, extra: 1 })).status).toBe(400);
  expect((await mesh.ask("POST", "/v1/explain", { ...body, port: 0 })).status).toBe(400);
  expect((await mesh.ask("POST", "/v1/explain", body)).status).toBe(200);
});

test("workloads of one service with the same policies are shown as one", async () => {
  const second = (name: string, uid: number) => ({
    apiVersion: "ironmesh.dev/v1",
    kind: "Workload",
    metadata: { name, namespace: "twin", labels: { app: "shop", version: name } },
    spec: {
      hosts: ["vm3"],
      serviceAccount: "shop",
      process: { uid },
      services: [{ name: "shop", ports: [{ port: 80, targetPort: 9000, protocol: "HTTP" }] }],
    },
  });
  await mesh.apply([second("a", 30_001), second("b", 30_002)]);
  const ambiguous = await explain("--from", "web", "--to", "shop");
  expect(ambiguous.err).toContain('"shop" may mean default/shop, twin/shop');
  const both = await explain("--from", "web", "--to", "twin/shop");
  expect(both.exitCode).toBe(0);
  expect(both.out.split("\n")[0]).toContain("-> twin/a, twin/b port 9000");
});

test("a client of TLS is asked about by the server name it wants", async () => {
  const vault = {
    apiVersion: "ironmesh.dev/v1",
    kind: "Workload",
    metadata: { name: "vault", namespace: "default", labels: { app: "vault" } },
    spec: {
      hosts: ["vm3"],
      serviceAccount: "shop",
      process: { uid: 30_003 },
      services: [{ name: "vault", ports: [{ port: 443, targetPort: 9443, protocol: "TLS" }] }],
    },
  };
  const named = {
    selector: { matchLabels: { app: "vault" } },
    rules: [{ when: [{ key: "connection.sni", values: ["*.vault.test"] }] }],
  };
  await mesh.apply([vault, policy("vault-names", named)]);
  const asked = ["--from", "web", "--to", "vault"];
  const allowed = await explain(...asked, "--sni", "A.vault.test");
  expect([allowed.exitCode, allowed.out.split("\n")[0]]).toEqual([
    0,
    "ALLOWED  spiffe://mesh.test/ns/default/sa/web -> default/vault port 9443: TLS for a.vault.test",
  ]);
  const denied = await explain(...asked);
  expect(denied.exitCode).toBe(1);
  expect(denied.out).toContain(
    "when[0].values of connection.sni: has *.vault.test; asked no server name",
  );
});
