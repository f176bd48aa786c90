// Half an hour of moderate traffic of every kind through two real agents, careless and hostile clients among it: what the agents hold in
// memory and in descriptors stays flat, nothing comes back wrong, and what is left at the end is what was there at the start. In the full
// tier only; IRONMESH_SOAK_SECONDS sets how long, and asks for it anywhere.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { type Member, Mesh } from "../e2e/mesh.ts";
import { UID } from "../e2e/ports.ts";
import { canRun, eventually } from "../support/hosts.ts";
import type { SoakOutcome } from "./soak-load.ts";

const asked = process.env["IRONMESH_SOAK_SECONDS"];
const SECONDS = Number(asked ?? 1_800);
const RATE = Number(process.env["IRONMESH_SOAK_RATE"] ?? 150);
/** What is loaded, compiled and pooled for the first time is no leak. */
const WARM_SHARE = 0.2;
/** Of the medians of the first and the last fifth behind that. In a run of a few minutes the heap has not yet come to its level. */
const GROWTH_MAX = SECONDS >= 900 ? 1.1 : 1.5;
/** Pooled requests' connections end after 3 s by this rule; the mesh connection that carried them, and a connection to an app, after a minute.
 *  What is left then besides what was there at the start: names, the server, a health check. */
const POOLS = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: soak, namespace: default }
spec: { host: web, trafficPolicy: { connectionPool: { http: { idleTimeout: 3s } } } }
`;
const KEPT_MAX = 4;
const POOLS_END_MS = 150_000;
const HOSTS = ["a", "b"] as const satisfies readonly Member[];

interface Sample {
  readonly rss: number;
  readonly fds: number;
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

/** Medians of a share of the samples. */
function window(samples: readonly Sample[], from: number, to: number): Sample {
  const part = samples.slice(Math.floor(samples.length * from), Math.ceil(samples.length * to));
  return { rss: median(part.map((one) => one.rss)), fds: median(part.map((one) => one.fds)) };
}

if (process.env["IRONMESH_TIER"] === "full" || asked !== undefined) {
  setDefaultTimeout((SECONDS + 300) * 1_000);
  const can = await canRun("the soak");
  let mesh: Mesh;

  beforeAll(async () => {
    if (can) mesh = await Mesh.up();
  });
  afterAll(() => mesh?.down());

  describe.skipIf(!can)(`${SECONDS} s of traffic`, () => {
    test("leave memory and descriptors flat, and nothing comes back wrong", async () => {
      const job = {
        host: (await mesh.vipOf("web.default.mesh")).vip4,
        port: 80,
        echoHost: (await mesh.vipOf("raw.default.mesh")).vip4,
        echoPort: 9000,
        seconds: SECONDS,
        rate: RATE,
      };
      await mesh.apply(POOLS);
      for (const host of HOSTS) await mesh.logErrorsOnly(host);
      const sampleOf = (host: Member): Sample => ({
        rss: mesh.rssOf(host),
        fds: mesh.descriptorsOf(host),
      });
      const before = { a: sampleOf("a"), b: sampleOf("b") };
      const samples = { a: [] as Sample[], b: [] as Sample[] };
      const sampling = setInterval(
        () => {
          for (const host of HOSTS) samples[host].push(sampleOf(host));
        },
        Math.max(250, SECONDS),
      );
      const source = new URL("./soak-load.ts", import.meta.url).pathname;
      const command = ["node", await mesh.hosts.nodeProgram(source), JSON.stringify(job)];
      const ran = await mesh.hosts.run("a", command, { uid: UID.client }, (SECONDS + 120) * 1_000);
      clearInterval(sampling);
      if (ran.code !== 0) throw new Error(`the load: ${ran.stderr}`);
      const outcome = JSON.parse(ran.stdout) as SoakOutcome;
      console.log("soak:", JSON.stringify(outcome.done));
      for (const host of HOSTS) {
        const first = window(samples[host], WARM_SHARE, WARM_SHARE + 0.2);
        const last = window(samples[host], 0.8, 1);
        const mb = (bytes: number): string => (bytes / 1e6).toFixed(1);
        const course = samples[host].filter(
          (_, nth, all) => nth % Math.ceil(all.length / 20) === 0,
        );
        console.log(`agent ${host}: RSS ${course.map(({ rss }) => mb(rss)).join(" ")} MB`);
        console.log(
          `agent ${host}: RSS ${mb(before[host].rss)} MB idle, ${mb(first.rss)} then ${mb(last.rss)} MB; descriptors ${before[host].fds} idle, ${first.fds} then ${last.fds}`,
        );
        expect(last.rss / first.rss).toBeLessThan(GROWTH_MAX);
        expect(last.fds / first.fds).toBeLessThan(GROWTH_MAX);
        const kept = before[host].fds + KEPT_MAX;
        await eventually(
          `agent ${host} has its descriptors back`,
          () => mesh.descriptorsOf(host) <= kept,
          POOLS_END_MS,
        );
        expect(await mesh.metric(host, "ironmesh_bugs_total")).toBe(0);
      }
      expect(outcome.wrong).toEqual([]);
      expect(outcome.wrongs).toBe(0);
      // Most of what was asked for was done: this machine kept up.
      const done = Object.values(outcome.done).reduce((sum, count) => sum + count, 0);
      expect(done).toBeGreaterThan((SECONDS * RATE) / 2);
    });
  });
}
