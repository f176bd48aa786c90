// Seeded runs of one config server and 20 agents: whatever happens on the way, all end on the last version, and nobody ever
// goes back. SEEDS sets how many (the full tier runs 300); SEED repeats one that failed.
import { expect, test } from "bun:test";
import { POISON, SimulatedMesh } from "./simulated-mesh.ts";

const AGENTS = 20;
const SEEDS = Number(process.env["SEEDS"] ?? (process.env["IRONMESH_TIER"] === "full" ? 300 : 6));
const FIRST_SEED = Number(process.env["SEED"] ?? 1);
const CHAOS_STEPS = 40;

const workload = (name: string, hosts: readonly string[]) => ({
  apiVersion: "ironmesh.dev/v1",
  kind: "Workload",
  metadata: { name, namespace: "default", labels: { app: name } },
  spec: {
    hosts,
    serviceAccount: "app",
    process: { user: name },
    services: [{ name, ports: [{ port: 80, protocol: "HTTP" }] }],
  },
});

const route = (name: string, timeoutMs: number, label = "") => ({
  apiVersion: "networking.istio.io/v1",
  kind: "VirtualService",
  metadata: { name, namespace: "default" },
  spec: {
    hosts: [name],
    http: [
      {
        name: `r${label}`,
        timeout: `${timeoutMs}ms`,
        route: [{ destination: { host: name } }],
      },
    ],
  },
});

/** One thing that happens, by chance. */
async function happen(world: SimulatedMesh, step: number): Promise<void> {
  const pick = (n: number): number => Math.floor(world.random.unit() * n);
  const agent = world.agents[pick(AGENTS)];
  const link = [...world.network.links][pick(world.network.links.size)];
  const app = `app-${pick(4)}`;
  switch (pick(8)) {
    case 0:
    case 1:
      await world.apply([route(app, step + 1)]);
      break;
    case 2:
      await world.apply([
        workload(app, [`vm-${pick(AGENTS)}`, `vm-${pick(AGENTS)}`].filter(isFirst)),
      ]);
      break;
    case 3:
      await world.apply([route(app, step + 1, `-${POISON}${agent?.host}.`)]);
      break;
    case 4:
      link?.cut();
      break;
    case 5:
      link?.die();
      break;
    case 6:
      world.stopServer();
      await world.pass(pick(400));
      await world.startServer();
      break;
    case 7:
      agent?.stop();
      await world.pass(pick(50));
      await agent?.start();
      break;
  }
}

const isFirst = <T>(value: T, at: number, all: readonly T[]): boolean => all.indexOf(value) === at;

const laggards = (world: SimulatedMesh, version: number): string[] =>
  world.agents
    .filter(({ plane }) => plane?.position.version !== version)
    .map(({ host, plane }) => `${host} at ${plane?.position.version}`);

async function run(seed: number): Promise<SimulatedMesh> {
  const world = await SimulatedMesh.start(seed, AGENTS);
  for (let i = 0; i < 4; i++) await world.apply([workload(`app-${i}`, [`vm-${i}`])]);
  for (let step = 0; step < CHAOS_STEPS; step++) {
    await happen(world, step);
    await world.pass(world.random.unit() * 300);
  }
  await world.startServer();
  world.network.isNasty = false;
  await world.apply([0, 1, 2, 3].map((i) => route(`app-${i}`, 10_000 + seed)));
  return world;
}

for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
  test(`all agents end on the last version and none goes back (seed ${seed})`, async () => {
    const world = await run(seed);
    const { version } = await world.position();
    for (let waited = 0; laggards(world, version).length > 0 && waited < 60; waited++)
      await world.pass(1_000);
    expect(laggards(world, version)).toEqual([]);
    expect(world.agents.flatMap(({ faults }) => faults)).toEqual([]);
    const publication = world.hub?.latest;
    for (const { host, plane } of world.agents) {
      expect(plane?.unitHashes).toEqual(publication?.unitsFor(host).map(({ hash }) => hash) ?? []);
    }
    await world.pass(5_000);
    const unacked =
      world.hub?.statuses().filter((status) => status.acked?.version !== version) ?? [];
    expect(unacked.map(({ host }) => host)).toEqual([]);
    await world.close();
  });
}

test("an agent whose compiler refuses a version keeps the last good one until the next, and says why", async () => {
  const world = await SimulatedMesh.start(7, 3);
  world.network.isNasty = false;
  await world.apply([workload("app-0", ["vm-0"])]);
  await world.pass(1_000);
  const good = (await world.position()).version;
  await world.apply([route("app-0", 50, `-${POISON}vm-1.`)]);
  await world.pass(1_000);
  const versions = () => world.agents.map(({ plane }) => plane?.position.version);
  expect(versions()).toEqual([good + 1, good, good + 1]);
  const told = world.hub?.statuses().find(({ host }) => host === "vm-1");
  expect(told?.nack).toMatchObject({ version: good + 1, reasons: ["spec: not with this agent"] });
  await world.apply([route("app-0", 60)]);
  await world.pass(1_000);
  expect(versions()).toEqual([good + 2, good + 2, good + 2]);
  await world.close();
});

test("a change reaches every agent within the link's delay, and a dead server is noticed within 3 s", async () => {
  const world = await SimulatedMesh.start(11, 5);
  world.network.isNasty = false;
  await world.pass(1_000);
  await world.apply([workload("app-0", ["vm-0"])]);
  await world.pass(200);
  expect(laggards(world, (await world.position()).version)).toEqual([]);
  const before = new Set(world.network.links);
  for (const link of before) link.die();
  await world.pass(3_300);
  await world.apply([route("app-0", 70)]);
  await world.pass(500);
  expect(laggards(world, (await world.position()).version)).toEqual([]);
  await world.close();
});
