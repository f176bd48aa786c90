// UDP through two real agents: programs that nobody here wrote, who may and who may not, and what stays untouched.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { ADDRESS, ADDRESS6, canRun, eventually } from "../support/hosts.ts";
import { DatagramMesh, type FlowLine } from "./datagram-mesh.ts";
import { DATAGRAMS, UID } from "./ports.ts";

setDefaultTimeout(60_000);
// Half a minute for each back end: the fast tier has datagrams in http.test.ts.
const isFull = process.env["IRONMESH_TIER"] === "full";
const can = isFull && (await canRun("datagrams"));

for (const backend of can ? (["nft", "iptables"] as const) : [])
  describe(`by ${backend}`, () => {
    let on: DatagramMesh;
    beforeAll(async () => {
      on = await DatagramMesh.up(backend);
      await on.untilAnswered(on.client);
    });
    afterAll(() => on?.down());

    describe("datagrams to a declared port", () => {
      test("arrive whole, each as one, and so do their answers, over IPv4 and IPv6, by service and by endpoint", async () => {
        const sizes = [0, 1, 512, 1_400, 9_000, 65_000];
        for (const [host, port] of [
          [on.logs.vip4, 514],
          [on.logs.vip6, 514],
          [ADDRESS.b, DATAGRAMS.echo],
        ] as const) {
          const answers = await on.ask(on.client, { host, port, sizes });
          expect([host, answers.toSorted((x, y) => Number(x) - Number(y))]).toEqual([host, sizes]);
        }
      });

      test("of one socket are one flow to the app, those of another socket are another", async () => {
        await on.forgetSeen();
        for (const socket of ["one", "two"])
          for (let i = 0; i < 5; i++)
            expect(await on.ask(on.client, { socket, sizes: [10 + i] })).toEqual([10 + i]);
        const seen = await on.seenByApp();
        expect(seen.map(([, count]) => count)).toEqual([5, 5]);
      });

      test("of a caller on the same host, by loopback too, take the same way", async () => {
        expect(await on.ask(on.neighbour)).toEqual([64]);
        const answers = await on.send(on.neighbour, {
          host: "127.0.0.1",
          port: DATAGRAMS.echo,
          sizes: [33],
        });
        expect(answers).toEqual([33]);
        expect(
          await on.mesh.metric(
            "b",
            "ironmesh_udp_received_datagrams_total",
            'reporter="source"',
            'connection_security_policy="mutual_tls"',
          ),
        ).toBeGreaterThanOrEqual(2);
      });

      test("a name is asked of a resolver that is a service, and the host's own resolver is asked as ever", async () => {
        const resolved = (server: string): Promise<string> =>
          on.client.run((kit, s) => kit.query(s, "www.example.org"), server);
        expect(await resolved(on.names.vip4)).toBe("192.0.2.77");
        expect(await resolved(ADDRESS.c)).toBe("192.0.2.53");
        const meshName = await on.client.run((kit, s) => kit.query(s, "logs"), ADDRESS.c);
        expect(meshName).toBe(on.logs.vip4);
      });

      test("are counted at both ends as the caller's and the called one's", async () => {
        const labels = ['request_protocol="udp"', 'destination_service_name="logs"'];
        for (const [host, reporter] of [
          ["a", "source"],
          ["b", "destination"],
        ] as const) {
          const count = (name: string): Promise<number> =>
            on.mesh.metric(
              host,
              name,
              ...labels,
              `reporter="${reporter}"`,
              'source_principal="spiffe://mesh.local/ns/default/sa/client"',
              'connection_security_policy="mutual_tls"',
            );
          const before = await count("ironmesh_udp_received_datagrams_total");
          expect(await on.ask(on.client, { sizes: [100, 100, 100] })).toHaveLength(3);
          const grown = async (): Promise<boolean> =>
            (await count("ironmesh_udp_received_datagrams_total")) === before + 3;
          expect(await eventually(`three datagrams counted on ${host}`, grown)).toBe(true);
          expect(await count("ironmesh_udp_flows_opened_total")).toBeGreaterThan(0);
          expect(await count("ironmesh_udp_sent_bytes_total")).toBeGreaterThanOrEqual(300);
        }
      });
    });

    describe("programs that nobody here wrote, by the service's name", () => {
      const run = (...command: string[]) => on.mesh.hosts.run("a", command, { uid: UID.client });

      test("dig asks a DNS server for many names, over IPv4 and IPv6", async () => {
        for (const family of ["-4", "-6"]) {
          const names = Array.from({ length: 20 }, (_, i) => `n${i}.example.org`);
          const asked = await run(
            "dig",
            family,
            "@names.default.mesh",
            "+short",
            "+tries=1",
            ...names,
          );
          expect([asked.code, asked.stdout.trim().split("\n")]).toEqual([
            0,
            names.map(() => "192.0.2.77"),
          ]);
        }
      });

      test("logger writes to a syslog server", async () => {
        await on.forgetSeen();
        const words = ["--server", "logs", "--udp", "--port", "514", "--tag", "shop"];
        for (const text of ["first line", "second line"])
          expect((await run("logger", ...words, text)).code).toBe(0);
        const texts = await eventually("both lines", async () => {
          const seen = await on.textsSeenByApp();
          return seen.length >= 2 && seen;
        });
        expect(texts).toHaveLength(2);
        expect(texts[0]).toMatch(/^<13>1 .* shop .* first line$/);
        expect(texts[1]).toMatch(/ second line$/);
      });

      test("a shell counts as one does for statsd, a socket for each count and no ear for answers", async () => {
        await on.forgetSeen();
        const counts = 100;
        const script = `for i in $(seq ${counts}); do echo "shop.orders:$i|c" > /dev/udp/logs/514; done`;
        expect((await run("bash", "-c", script)).code).toBe(0);
        const wanted = Array.from({ length: counts }, (_, i) => `shop.orders:${i + 1}|c\n`);
        await eventually("all counts", async () => (await on.textsSeenByApp()).length === counts);
        expect((await on.textsSeenByApp()).toSorted()).toEqual(wanted.toSorted());
      });
    });

    describe("the wire between hosts", () => {
      test("shows no payload of theirs, while undeclared UDP is seen there as it is", async () => {
        const fillingOf = (size: number): string =>
          ((size * 7 + 1) & 255).toString(16).padStart(2, "0").repeat(16);
        const wire = await on.wireDuring(
          async () => {
            expect(await on.ask(on.client, { sizes: [300] })).toEqual([300]);
            const open = { host: ADDRESS.b, port: DATAGRAMS.undeclared, sizes: [301] };
            expect(await on.send(on.client, open)).toEqual([301]);
          },
          (seen) => seen.replaceAll(" ", "").includes(fillingOf(301)),
        );
        expect(wire).toMatch(/10\.79\.1\.1\.\d+ > 10\.79\.1\.2\.15008: UDP, length 328/);
        expect(wire).toMatch(/10\.79\.1\.2\.15008 > 10\.79\.1\.1\.\d+: UDP, length 328/);
        expect(wire.replaceAll(" ", "")).not.toContain(fillingOf(300));
      });

      test("once more sent, or altered, is dropped by either end, and the session goes on", async () => {
        await on.ask(on.client);
        const wire = await on.wireDuring(
          async () => {
            expect(await on.ask(on.client, { sizes: [200] })).toEqual([200]);
          },
          (seen) => SEALED.test(seen),
        );
        const found = SEALED.exec(wire);
        const sealed = payloadOf(wire, found);
        expect(sealed).toHaveLength(2 * (200 + 28));
        const from = { address: ADDRESS.a, port: Number(found?.[1]) };
        const to = { address: ADDRESS.b, port: 15_008 };
        await on.forgetSeen();
        for (const [reason, hex] of [
          ["replayed", sealed],
          ["forged", `${sealed.slice(0, 12)}ffff${sealed.slice(16)}`],
          ["forged", sealed.slice(0, 40)],
        ] as const) {
          const before = await on.dropped("b", reason);
          await on.forge({ from, to, hex });
          await eventually(
            `one more ${reason}`,
            async () => (await on.dropped("b", reason)) === before + 1,
          );
        }
        expect(await on.seenByApp()).toEqual([]);
        expect(await on.ask(on.client)).toEqual([64]);
      });
    });

    describe("who may call", () => {
      test("a policy of the called workload decides by the caller's identity, and each refusal has an id that is explained", async () => {
        await on.mesh.apply(CLIENT_ONLY);
        await eventually("the stranger is refused", async () => {
          return (await on.ask(on.stranger, { withinMs: 300 })).length === 0;
        });
        expect(await on.ask(on.client)).toEqual([64]);
        await on.forgetSeen();
        const before = await on.dropped("b", "denied");
        expect(
          await on.ask(on.stranger, { socket: "refused", sizes: [1, 2, 3], withinMs: 500 }),
        ).toEqual([]);
        expect((await on.dropped("b", "denied")) - before).toBe(3);
        expect(await on.seenByApp()).toEqual([]);
        const { decision_id: id = "" } = await eventually("the refused flow's record", () =>
          on.mesh.refusalsOf("b").find((one) => (one as FlowLine).protocol === "UDP"),
        );
        const { explanation } = JSON.parse(await on.mesh.meshctl("explain", id, "-o", "json"));
        expect(explanation).toMatchObject({
          verdict: "denied",
          asked: { to: { workload: "default/logs", port: DATAGRAMS.echo } },
        });
        // A flow that goes on is judged anew, without another socket.
        await on.mesh.meshctl("delete", "authorizationpolicy", "client-only");
        await eventually("the stranger is heard", async () => {
          return (await on.ask(on.stranger, { socket: "refused", withinMs: 300 })).length === 1;
        });
      });

      test("a rate limit lets each caller have its burst of datagrams, and drops and explains the rest", async () => {
        await on.mesh.apply(CALM);
        const sizes = Array.from({ length: 20 }, (_, i) => 100 + i);
        let dropped = await on.dropped("b", "rate_limited");
        for (const caller of [on.client, on.stranger]) {
          const answers = await on.ask(caller, { socket: "hasty", sizes, withinMs: 1_000 });
          expect(answers.length).toBeWithin(5, 9); // one more comes every 12 s
          dropped += sizes.length - answers.length;
        }
        expect(await on.dropped("b", "rate_limited")).toBe(dropped);
        const refused = on.mesh
          .log("agent-b")
          .split("\n")
          .find((line) => line.includes(":calm"));
        const id = /"decision":"([^"]+)"/.exec(refused ?? "")?.[1] ?? "";
        expect(await on.mesh.meshctl("explain", id)).toContain("RateLimit default/calm");
        await on.mesh.meshctl("delete", "ratelimit", "calm");
        expect(await on.untilAnswered(on.client, { socket: "hasty" })).toBe(true);
      });

      test("what another host sends past the mesh is neither passed on nor answered, and is counted", async () => {
        await on.forgetSeen();
        for (const host of [ADDRESS.b, ADDRESS6.b]) {
          const before = await on.dropped("b", "plaintext_to_strict");
          const options = { host, port: DATAGRAMS.echo, sizes: [1, 2], withinMs: 500 };
          expect(await on.send(on.outside, options)).toEqual([]);
          expect((await on.dropped("b", "plaintext_to_strict")) - before).toBe(2);
        }
        expect(await on.seenByApp()).toEqual([]);
      });

      test("undeclared UDP is nobody's business: it passes, in both directions, as without a mesh", async () => {
        for (const host of [ADDRESS.b, ADDRESS6.b])
          for (const who of [on.client, on.outside, on.neighbour]) {
            const options = { host, port: DATAGRAMS.undeclared, sizes: [5, 6_000] };
            expect((await on.send(who, options)).toSorted()).toEqual([5, 6_000]);
          }
        expect(await on.dropped("a", "not_declared")).toBe(0);
      });
    });
  });

/** tcpdump's line of a datagram of 200 bytes from a to b, sealed. */
const SEALED = /10\.79\.1\.1\.(\d+) > 10\.79\.1\.2\.15008: UDP, length 228\n/;

/** Of the datagram whose line that is: what comes behind the heads of IPv4 and UDP, as hexadecimal. */
function payloadOf(wire: string, line: RegExpExecArray | null): string {
  const rest = wire.slice((line?.index ?? 0) + (line?.[0].length ?? 0));
  const lines = /^(?:\t0x[0-9a-f]+:.*\n?)+/.exec(rest)?.[0] ?? "";
  return lines.replaceAll(/0x[0-9a-f]+:|\s/g, "").slice(2 * 28);
}

const CALM = `
apiVersion: ironmesh.dev/v1
kind: RateLimit
metadata: { name: calm }
spec:
  selector: { matchLabels: { app: logs } }
  limits: [{ name: calm, requests: 5, per: 1m, by: { identity: true } }]
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
