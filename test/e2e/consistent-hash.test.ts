// A statsd of two instances behind one name, on two real agents: with a DestinationRule of consistentHash what one host counts is
// counted at one place. Two workloads of host b are the instances.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { canRun, eventually } from "../support/hosts.ts";
import type { Remote } from "../support/remote.ts";
import { Mesh } from "./mesh.ts";
import { DATAGRAMS, UID } from "./ports.ts";

setDefaultTimeout(60_000);
const isFull = process.env["IRONMESH_TIER"] === "full";
const can = isFull && (await canRun("consistent hashing"));
const FLOWS = 12;

for (const when of can ? ["by real agents"] : [])
  describe(`consistentHash of a UDP service, ${when}`, () => {
    let mesh: Mesh;
    let client: Remote;
    let instances: Remote[] = [];
    let vip: string;
    beforeAll(async () => {
      mesh = await Mesh.up();
      client = await mesh.remote("a", UID.client);
      instances = await Promise.all([
        mesh.remote("b", UID.datagrams),
        mesh.remote("b", UID.secureOne),
      ]);
      for (const [i, instance] of instances.entries())
        await instance.run((kit, port) => kit.echoDatagrams(port), DATAGRAMS.echo + i);
      await mesh.apply(`${instanceText(0)}---${instanceText(1)}`);
      vip = (await mesh.vipOf("statsd.default.mesh")).vip4;
      await eventually("an answer", async () => (await count("begin")).length > 0, 20_000);
    });
    afterAll(() => mesh?.down());

    const count = (socket: string) =>
      client.run((kit, o) => kit.datagrams(o), {
        host: vip,
        port: 8125,
        sizes: [40],
        socket,
        withinMs: 1_000,
      });
    const seen = (): Promise<number[]> =>
      Promise.all(instances.map((one) => one.run((kit) => kit.texts.length)));
    /** How many of as many new flows each instance got. */
    const spread = async (name: string): Promise<number[]> => {
      const before = await seen();
      for (let i = 0; i < FLOWS; i++) await count(`${name} ${i}`);
      return (await seen()).map((all, i) => all - (before[i] ?? 0));
    };

    test("brings all flows of a host to one instance, which without it go to either; to the other while that is away; and back", async () => {
      const without = await spread("without");
      expect(without).toHaveLength(2);
      expect(Math.min(...without)).toBeGreaterThan(0);

      await mesh.apply(BY_SOURCE);
      const by = await eventually("one instance gets all", async () => {
        const found = await spread(`at ${performance.now()}`);
        return found.includes(FLOWS) && found;
      });
      const one = by.indexOf(FLOWS);
      // Old flows too: the sockets of `without` are the same ones.
      const other = one === 0 ? [0, FLOWS] : [FLOWS, 0];
      const own = one === 0 ? [FLOWS, 0] : [0, FLOWS];
      expect(await spread("without")).toEqual(own);

      await mesh.meshctl("delete", "workload", `statsd-${one}`);
      await eventually(
        "the other gets all",
        async () => `${await spread("without")}` === `${other}`,
      );
      await mesh.apply(instanceText(one));
      await eventually("the first has them back", async () => {
        return `${await spread("without")}` === `${own}`;
      });
    });
  });

const instanceText = (i: number): string => `
apiVersion: ironmesh.dev/v1
kind: Workload
metadata: { name: statsd-${i}, labels: { app: statsd } }
spec:
  hosts: [b]
  serviceAccount: backend
  process: { uid: ${i === 0 ? UID.datagrams : UID.secureOne} }
  services:
    - name: statsd
      ports: [{ port: 8125, targetPort: ${DATAGRAMS.echo + i}, protocol: UDP }]
`;
const BY_SOURCE = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: statsd }
spec:
  host: statsd
  trafficPolicy:
    loadBalancer: { consistentHash: { useSourceIp: true } }
`;
