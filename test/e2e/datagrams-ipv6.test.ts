// UDP between hosts whose services are reached by IPv6: through real agents, sealed in IPv6 packets.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { ADDRESS6, canRun, eventually } from "../support/hosts.ts";
import { DatagramMesh } from "./datagram-mesh.ts";
import { DATAGRAMS } from "./ports.ts";

setDefaultTimeout(60_000);
// Long: the fast tier has datagrams in http.test.ts.
const isFull = process.env["IRONMESH_TIER"] === "full";
const can = isFull && (await canRun("datagrams over IPv6"));

for (const backend of can ? (["nft", "iptables"] as const) : [])
  describe(`between hosts of IPv6, by ${backend}`, () => {
    let on: DatagramMesh;
    beforeAll(async () => {
      on = await DatagramMesh.up(backend, ADDRESS6);
      await on.untilAnswered(on.client);
    });
    afterAll(() => on?.down());

    test("datagrams arrive whole, and so do their answers, by virtual IP of either family and by endpoint", async () => {
      const sizes = [0, 1, 512, 1_400, 9_000, 65_000];
      for (const [host, port] of [
        [on.logs.vip4, 514],
        [on.logs.vip6, 514],
        [ADDRESS6.b, DATAGRAMS.echo],
      ] as const) {
        const answers = await on.ask(on.client, { host, port, sizes });
        expect([host, answers.toSorted((x, y) => Number(x) - Number(y))]).toEqual([host, sizes]);
      }
    });

    test("each shows on the wire as a sealed one in an IPv6 packet, and as nothing else", async () => {
      const filling = ((300 * 7 + 1) & 255).toString(16).padStart(2, "0").repeat(16);
      const wire = await on.wireDuring(
        async () => {
          for (const host of [on.logs.vip4, on.logs.vip6])
            expect(await on.ask(on.client, { host, sizes: [300] })).toEqual([300]);
        },
        (seen) => (seen.match(ANSWER) ?? []).length >= 2,
      );
      expect(wire).toMatch(/fd79:1::1\.\d+ > fd79:1::2\.15008: UDP, length 328/);
      expect(wire).not.toContain("10.79.1.2.15008");
      expect(wire.replaceAll(" ", "")).not.toContain(filling);
    });

    test("what comes past the mesh is dropped and counted, and a caller without permission gets nothing", async () => {
      await on.forgetSeen();
      const before = await on.dropped("b", "plaintext_to_strict");
      const plain = { host: ADDRESS6.b, port: DATAGRAMS.echo, sizes: [77], withinMs: 500 };
      expect(await on.send(on.outside, plain)).toEqual([]);
      await eventually(
        "a datagram in the clear is counted",
        async () => (await on.dropped("b", "plaintext_to_strict")) === before + 1,
      );
      await on.mesh.apply(CLIENT_ONLY);
      await eventually("the stranger is refused", async () => {
        const host = on.logs.vip6;
        return (await on.ask(on.stranger, { host, withinMs: 300 })).length === 0;
      });
      await on.forgetSeen();
      expect(await on.ask(on.stranger, { host: on.logs.vip6, withinMs: 500 })).toEqual([]);
      expect(await on.seenByApp()).toEqual([]);
      expect(await on.ask(on.client, { host: on.logs.vip6 })).toEqual([64]);
    });
  });

const ANSWER = /fd79:1::2\.15008 > fd79:1::1\.\d+: UDP, length 328/g;

const CLIENT_ONLY = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: client-only }
spec:
  selector: { matchLabels: { app: logs } }
  rules: [{ from: [{ source: { principals: ["mesh.local/ns/default/sa/client"] } }] }]
`;
