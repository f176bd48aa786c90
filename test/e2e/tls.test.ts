// TLS that the mesh carries and never opens: curl to Node's https server over two real agents, by the server name of the ClientHello.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { ADDRESS, canRun, eventually } from "../support/hosts.ts";
import { testServerPem } from "../support/test-pki.ts";
import { Mesh } from "./mesh.ts";
import { SECURE, UID } from "./ports.ts";

setDefaultTimeout(60_000);
const can = await canRun("TLS by server name");
const isFull = process.env["IRONMESH_TIER"] === "full";

const workload = (version: string, uid: number, port: number): string => `
apiVersion: ironmesh.dev/v1
kind: Workload
metadata: { name: vault-${version}, labels: { app: vault, version: ${version} } }
spec:
  hosts: [b]
  serviceAccount: backend
  process: { uid: ${uid} }
  services: [{ name: vault, ports: [{ port: 443, targetPort: ${port}, protocol: HTTPS }] }]
---`;
const RESOURCES = `${workload("v1", UID.secureOne, SECURE.one)}${workload("v2", UID.secureTwo, SECURE.two)}
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: vault }
spec:
  host: vault
  subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: vault }
spec:
  hosts: [vault, "*.vault.test"]
  tls:
    - match: [{ sniHosts: [vault] }]
      route: [{ destination: { host: vault, subset: v1 } }]
    - match: [{ sniHosts: ["*.vault.test", vault.default] }]
      route: [{ destination: { host: vault, subset: v2 } }]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: outside }
spec:
  hosts: ["*.outside.test"]
  ports: [{ number: ${SECURE.outside}, name: tls, protocol: TLS }]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: by-name }
spec:
  hosts: [by-name.example.net]
  resolution: DNS
  ports: [{ number: 443, name: https, protocol: HTTPS, targetPort: ${SECURE.outside} }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: vault-names }
spec:
  selector: { matchLabels: { app: vault } }
  action: DENY
  rules: [{ when: [{ key: connection.sni, values: [secret.vault.test] }] }]
`;

interface Line {
  readonly requested_server_name?: string;
  readonly upstream_cluster?: string;
  readonly bytes_sent?: number;
}

describe.skipIf(!can)("HTTPS through two agents that cannot read it", () => {
  let mesh: Mesh;
  let vip: { vip4: string; vip6: string };
  let certificate: string;

  beforeAll(async () => {
    mesh = await Mesh.up(["--mode", "all"], [], ["--outbound-policy", "registry_only"]);
    const { certificatePem, keyPem } = await testServerPem([
      "vault",
      "vault.default",
      "*.vault.test",
    ]);
    certificate = `${mesh.hosts.directory}/vault.pem`;
    writeFileSync(certificate, certificatePem);
    writeFileSync(`${mesh.hosts.directory}/vault.key`, keyPem);
    const app = await mesh.hosts.nodeProgram(new URL("./tls-backend.ts", import.meta.url).pathname);
    const files = [certificate, `${mesh.hosts.directory}/vault.key`];
    for (const [host, uid, port, word] of [
      ["b", UID.secureOne, SECURE.one, "v1"],
      ["b", UID.secureTwo, SECURE.two, "v2"],
      ["c", UID.outside, SECURE.outside, "outside"],
    ] as const)
      mesh.hosts.spawn(host, ["node", app, `${port}`, word, ...files], { uid, log: word });
    await mesh.apply(RESOURCES);
    vip = await mesh.vipOf("vault.default.mesh");
    await eventually("both versions answer", async () => {
      const answers = [await get("https://vault/"), await get("https://a.vault.test/")];
      return answers.every((answer) => answer.startsWith("v"));
    });
  });
  afterAll(() => mesh?.down());

  /** What curl prints, which trusts the apps' own certificate and no other; or how it fails. */
  async function get(url: string, ...words: readonly string[]): Promise<string> {
    const { hostname } = new URL(url);
    const known = hostname.endsWith(".test") ? ["--resolve", `${hostname}:443:${vip.vip4}`] : [];
    const command = ["curl", "-sS", "-m", "20", "--cacert", certificate, ...known, ...words, url];
    const { code, stdout, stderr } = await mesh.hosts.run("a", command, { uid: UID.client });
    return code === 0 ? stdout : `curl ${code}: ${stderr}`;
  }
  const lineOf = (host: "a" | "b", text: string): Promise<Line> =>
    eventually(`access record with ${text}`, () => {
      const lines = mesh.log(`agent-${host}`).split("\n");
      const found = lines.find((line) => line.startsWith('{"start_time"') && line.includes(text));
      return found !== undefined && (JSON.parse(found) as Line);
    });

  test("the server name chooses the version, over IPv4 and IPv6, and the app's own certificate is what curl sees", async () => {
    for (const family of ["-4", "-6"]) {
      expect(await get("https://vault/", family)).toBe("v1 vault\n");
      expect(await get("https://vault.default/", family)).toBe("v2 vault.default\n");
    }
    expect(await get("https://deep.down.vault.test/", "-k")).toBe("v2 deep.down.vault.test\n");
  });

  test("a large body passes whole", async () => {
    const body = await get("https://vault/size/8000000");
    expect(body).toBe("v1".repeat(4_000_000));
  });

  test("log and metrics say who was asked for and who was called", async () => {
    await get("https://told.vault.test/");
    expect(await lineOf("a", "told.vault.test")).toMatchObject({
      requested_server_name: "told.vault.test",
      upstream_cluster: "outbound|443|v2|vault.default.mesh",
      route_name: "default/vault:1",
      response_flags: "-",
    });
    const labels = [
      'destination_service="vault.default.mesh"',
      'connection_security_policy="mutual_tls"',
    ];
    expect(await mesh.metric("b", "istio_tcp_connections_opened_total", ...labels)).toBeGreaterThan(
      0,
    );
    const caller = ['destination_workload="vault-v2"', 'reporter="source"'];
    expect(await mesh.metric("a", "istio_tcp_connections_opened_total", ...caller)).toBeGreaterThan(
      0,
    );
  });

  test("a name that no route is for, HTTP in the clear and no name at all are reset", async () => {
    const refused = (reason: string) =>
      mesh.metric("a", "ironmesh_connections_refused_total", `reason="${reason}"`);
    expect(await get("https://vault.default.mesh/")).toStartWith("curl 35: ");
    expect(await get(`https://${vip.vip4}/`, "-k")).toStartWith("curl 35: ");
    expect(await refused("no_route")).toBe(2);
    expect(await get("http://vault:443/")).toStartWith("curl 56: ");
    expect(await refused("not_tls")).toBe(1);
  });

  test("under REGISTRY_ONLY a wildcard of a ServiceEntry opens what is below it, wherever the client looked it up, and nothing else", async () => {
    const at = (name: string): Promise<string> => {
      const known = ["-k", "--resolve", `${name}:${SECURE.outside}:${ADDRESS.c}`];
      return get(`https://${name}:${SECURE.outside}/`, ...known);
    };
    expect(await at("a.outside.test")).toBe("outside a.outside.test\n");
    expect(await at("outside.test")).toStartWith("curl 35: ");
    expect(await at("elsewhere.test")).toStartWith("curl 35: ");
    expect(await lineOf("a", '"a.outside.test"')).toMatchObject({
      upstream_cluster: `outbound|${SECURE.outside}||*.outside.test`,
      upstream_host: `${ADDRESS.c}:${SECURE.outside}`,
    });
    const service = 'destination_service="*.outside.test"';
    expect(await mesh.metric("a", "istio_tcp_connections_opened_total", service)).toBe(1);
  });

  test("a service of resolution DNS is called where the host's resolver says that it is, also under REGISTRY_ONLY", async () => {
    await mesh.world.run((kit, address) => {
      kit.names.set("by-name.example.net", { addresses: [address], ttl: 60 });
    }, ADDRESS.c);
    expect(await get("https://by-name.example.net/", "-k")).toBe("outside by-name.example.net\n");
    expect(await lineOf("a", '"by-name.example.net"')).toMatchObject({
      upstream_cluster: "outbound|443||by-name.example.net",
      upstream_host: `${ADDRESS.c}:${SECURE.outside}`,
    });
    expect(await mesh.endpointsAt("a")).toContain(
      `${ADDRESS.c}:${SECURE.outside} (by-name.example.net:${SECURE.outside}: `,
    );
  });

  test("what policy denies by connection.sni is reset at the app's host, and explained", async () => {
    expect(await get("https://secret.vault.test/")).toStartWith("curl 35: ");
    const { code, stdout } = await mesh.explainThere("b", await decisionAt("b"));
    expect(code).toBe(0);
    expect(stdout).toContain(
      "AuthorizationPolicy default/vault-names denies it: spec.rules[0] matches",
    );
    expect(stdout).toContain("port 9444: TLS for secret.vault.test");
  });
  const decisionAt = (host: "a" | "b"): Promise<string> =>
    eventually("a refusal", () => mesh.refusalsOf(host).at(-1)?.decision_id ?? false);

  if (isFull)
    test("OpenSSL's s_client, with TLS 1.2 and 1.3", async () => {
      for (const version of ["-tls1_2", "-tls1_3"]) {
        const words = ["-connect", `${vip.vip4}:443`, "-servername", "x.vault.test", version];
        const ask = `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | openssl s_client -quiet -CAfile ${certificate} ${words.join(" ")}`;
        const { stdout } = await mesh.hosts.run("a", ["sh", "-c", ask], { uid: UID.client });
        expect(stdout).toEndWith("v2 x.vault.test\n");
      }
    });
});
