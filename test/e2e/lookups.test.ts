// Services whose addresses are host names: looked up by a real agent at the resolver of its host, while curl calls them by names for which
// that agent answers with a virtual IP.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { ADDRESS, ADDRESS6, canRun, eventually } from "../support/hosts.ts";
import { testServerPem } from "../support/test-pki.ts";
import { Mesh } from "./mesh.ts";
import { SECURE, UID } from "./ports.ts";

setDefaultTimeout(60_000);
const isFull = process.env["IRONMESH_TIER"] === "full";
const can = isFull && (await canRun("looking up host names of endpoints"));

const PORT = { http: 7101, tcp: 7102 } as const;

const entry = (name: string, rest: string): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${name} }
spec:
  hosts: [${name}.lookup.test]
  ${rest.trim()}
---`;
const HTTP = `{ number: 80, name: http, protocol: HTTP, targetPort: ${PORT.http} }`;
const RESOURCES = `${entry("api", `resolution: DNS\n  ports: [${HTTP}]`)}${entry(
  "nobody",
  `resolution: DNS\n  ports: [${HTTP}]`,
)}${entry("here", `resolution: DNS\n  ports: [${HTTP}]`)}${entry(
  "unused",
  `resolution: DNS\n  ports: [${HTTP}]`,
)}${entry(
  "db",
  `resolution: DNS
  ports: [{ number: 5432, name: pg, protocol: TCP }]
  endpoints: [{ address: primary.lookup.test, ports: { pg: ${PORT.tcp} } }]`,
)}${entry(
  "pay",
  `resolution: DNS_ROUND_ROBIN\n  ports: [{ number: 443, name: tls, protocol: TLS, targetPort: ${SECURE.outside} }]`,
)}`;

if (can)
  describe("host names of endpoints", () => {
    let mesh: Mesh;
    let certificate: string;

    beforeAll(async () => {
      mesh = await Mesh.up(["--mode", "all"], [], ["--outbound-policy", "registry_only"]);
      const { certificatePem, keyPem } = await testServerPem(["pay.lookup.test"]);
      certificate = `${mesh.hosts.directory}/pay.pem`;
      writeFileSync(certificate, certificatePem);
      writeFileSync(`${mesh.hosts.directory}/pay.key`, keyPem);
      const app = await mesh.hosts.nodeProgram(
        new URL("./tls-backend.ts", import.meta.url).pathname,
      );
      const files = [certificate, `${mesh.hosts.directory}/pay.key`];
      mesh.hosts.spawn("c", ["node", app, `${SECURE.outside}`, "paid", ...files], {
        uid: UID.outside,
        log: "paid",
      });
      await mesh.world.run((kit, port) => {
        const server = kit.createHttpServer((request, response) =>
          response.end(`${request.socket.localAddress}`.replace("::ffff:", "")),
        );
        return new Promise<void>((resolve) => server.listen(port, "::", () => resolve()));
      }, PORT.http);
      await mesh.world.run((kit, port) => {
        const server = kit.createServer((socket) => socket.end("ready\n"));
        return new Promise<void>((resolve) => server.listen(port, "::", () => resolve()));
      }, PORT.tcp);
      await mesh.apply(RESOURCES);
    });
    afterAll(() => mesh?.down());

    const answerWith = (
      name: string,
      addresses: readonly string[],
      how: { readonly ttl?: number; readonly fails?: boolean } = {},
    ): Promise<void> =>
      mesh.world.run(
        (kit, one, answers) => {
          kit.names.set(one, answers);
        },
        `${name}.lookup.test`,
        { addresses, ttl: 1, ...how },
      );
    const asked = (question: string): Promise<number> =>
      mesh.world.run((kit, one) => kit.counts.get(one) ?? 0, question);
    const lineOf = async (name: string): Promise<string> => {
      const lines = (await mesh.endpointsAt("a")).split("\n");
      return lines.find((line) => line.includes(`||${name}.lookup.test`)) ?? "";
    };

    test("all addresses of a name are called, of both families; it is looked up once for all threads, and only when it is used", async () => {
      await answerWith("api", [ADDRESS.c, ADDRESS6.c], { ttl: 300 });
      const bodies = new Set<string>();
      for (let i = 0; i < 12; i++)
        bodies.add((await mesh.curl(`http://api.lookup.test/${i}`)).body);
      expect([...bodies].sort()).toEqual([ADDRESS.c, ADDRESS6.c].sort());
      expect([await asked("api.lookup.test A"), await asked("api.lookup.test AAAA")]).toEqual([
        1, 1,
      ]);
      expect(await asked("unused.lookup.test A")).toBe(0);
      expect(await lineOf("api")).toMatch(
        /10\.79\.1\.3:7101 \(api\.lookup\.test:7101: \d+s old, for 5m, from 10\.79\.1\.3\)/,
      );
      expect(await lineOf("unused")).toContain("not looked up: nobody here uses it");
      expect(await mesh.accessOf("a", "/3")).toMatchObject({
        response_code: 200,
        response_flags: "-",
        upstream_cluster: "outbound|80||api.lookup.test",
      });
    });

    test("an opaque port goes to the endpoint's own name and port", async () => {
      await answerWith("primary", [ADDRESS.c]);
      const words = ["-sS", "-m", "10", "telnet://db.lookup.test:5432"];
      const { stdout } = await mesh.hosts.run("a", ["curl", ...words], { uid: UID.client });
      expect(stdout).toBe("ready\n");
      expect(await asked("db.lookup.test A")).toBe(0);
    });

    test("TLS goes by its server name to a logical name's first address, and nobody opens it", async () => {
      await answerWith("pay", [ADDRESS.c, "192.0.2.1"]);
      const { body } = await mesh.curl("--cacert", certificate, "https://pay.lookup.test/");
      expect(body).toBe("paid pay.lookup.test\n");
    });

    test("a name without an address, and one that leads to this host, are 503 with flag UH, and why is shown", async () => {
      await answerWith("here", ["127.0.0.1", ADDRESS.a]);
      for (const name of ["nobody", "here"]) {
        const { code, seconds } = await mesh.curl(`http://${name}.lookup.test/${name}`);
        expect([code, seconds < 5]).toEqual(["503", true]);
        expect((await mesh.accessOf("a", `/${name}`)).response_flags).toBe("UH");
      }
      expect(await lineOf("here")).toContain(
        "not dialled: 127.0.0.1: loopback, 10.79.1.1: this host itself",
      );
    });

    test("explain says that nothing of the mesh stands behind it, and where to look", async () => {
      const words = ["--from", "client", "--to", "api.lookup.test", "--method", "GET"];
      const { code, stderr } = await mesh.explainThere("a", ...words);
      expect([code, stderr]).toEqual([
        1,
        expect.stringContaining("is what a ServiceEntry declares"),
      ]);
      expect(stderr).toContain("meshctl config endpoints");
    });

    test("a name follows its answers, and keeps the last good one while the resolver fails", async () => {
      await answerWith("nobody", [ADDRESS.c]);
      await eventually("the name has an address", async () => {
        const { body } = await mesh.curl("http://nobody.lookup.test/");
        return body === ADDRESS.c;
      });
      await answerWith("nobody", [], { fails: true });
      await eventually("the answer is stale", async () =>
        (await lineOf("nobody")).includes("stale: 10.79.1.3 answers SERVFAIL"),
      );
      expect((await mesh.curl("http://nobody.lookup.test/")).body).toBe(ADDRESS.c);
      expect(mesh.log("agent-a")).toContain("a host name cannot be looked up");
      expect(await mesh.metric("a", "ironmesh_lookups_total", 'outcome="failed"')).toBeGreaterThan(
        0,
      );
    });
  });
