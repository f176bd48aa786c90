// The cases under load: ours and each peer take turns, round after round, so that whatever else the machine does meets all alike.
import { addressOf } from "./hosts.ts";
import { cpuMicros, iperf, type LoadResult, median, memoryOf, wrk } from "./measure.ts";
import { CLIENT_UID, type Mesh } from "./mesh.ts";
import { BACKEND_PORT, BULK_PORT, HOP_PORT, IPERF_PORT, PAIR_PORT, type Peers } from "./peers.ts";
import type { Row } from "./table.ts";

export interface Pace {
  readonly rounds: number;
  readonly seconds: number;
  /** One peer, fewer sizes and connections: for what is measured a second time, under another runtime. */
  readonly isBrief?: boolean;
}

export interface Contender {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly pids: readonly number[];
}

interface HttpRound extends LoadResult {
  readonly cpu: number;
  readonly rss: number;
  readonly anonymous: number;
}

const CONNECTIONS = 64;
/** A pair of haproxies that is asked for 800 streams at once dials as many connections, with a handshake each. */
const WARM_UP_SECONDS = 3;
const SIZES = [
  ["100 B", "/100"],
  ["1 KB", "/1k"],
] as const;
const BODIES = [...SIZES, ["64 KB", "/64k"], ["1 KB chunked", "/chunked"]] as const;

export function hopCase(mesh: Mesh, peers: Peers, pace: Pace): Row[] {
  const contenders: Contender[] = [
    { name: "ironmesh", address: mesh.plain, port: BACKEND_PORT, pids: [mesh.agents.a] },
    { name: "haproxy", address: addressOf("a"), port: HOP_PORT.haproxy, pids: [peers.haproxyHop] },
  ];
  if (pace.isBrief !== true)
    contenders.push({
      name: "nginx",
      address: addressOf("a"),
      port: HOP_PORT.nginx,
      pids: [peers.nginxHop],
    });
  return BODIES.flatMap(([size, path]) =>
    httpRows(
      byWrk(`HTTP/1.1 one hop, plaintext, ${size}, c64`, path, CONNECTIONS),
      contenders,
      pace,
      { must: 0.8, goal: 0.7 },
    ),
  );
}

export function pairCase(mesh: Mesh, peers: Peers, pace: Pace): Row[] {
  const ours = [mesh.agents.a, mesh.agents.b];
  const contenders: Contender[] = [
    { name: "ironmesh", address: mesh.backend, port: BACKEND_PORT, pids: ours },
    { name: "haproxy", address: addressOf("a"), port: PAIR_PORT, pids: peers.haproxyPair },
  ];
  const sizes = pace.isBrief === true ? SIZES.slice(1) : SIZES;
  const many = sizes.flatMap(([size, path]) =>
    httpRows(byWrk(`mTLS pair, ${size}, c64`, path, CONNECTIONS), contenders, pace, {
      must: 0.7,
      goal: 0.55,
    }),
  );
  const few = byWrk("mTLS pair, 1 KB, c4", "/1k", 4);
  return [...many, ...httpRows(few, contenders, pace, { must: 0.65, goal: 0.5 })];
}

export interface LoadCase {
  readonly name: string;
  load(who: Contender, seconds: number): LoadResult;
}

const byWrk = (name: string, path: string, connections: number): LoadCase => ({
  name,
  load: ({ address, port }, seconds) =>
    wrk("a", CLIENT_UID, `http://${address}:${port}${path}`, { connections, seconds }),
});

interface Asked {
  readonly must?: number;
  readonly goal?: number;
}
const TAIL = { must: 1 };

/** The first contender is ours; CPU is compared with the cheapest of the others, the tail with the first of them. */
export function httpRows(
  what: LoadCase,
  contenders: readonly Contender[],
  pace: Pace,
  asked: Asked,
  tail: Asked = TAIL,
): Row[] {
  const rounds = contenders.map((): HttpRound[] => []);
  for (let round = -1; round < pace.rounds; round++) {
    contenders.forEach((contender, i) => {
      if (round < 0) what.load(contender, Math.max(pace.seconds, WARM_UP_SECONDS));
      else rounds[i]?.push(httpRound(what, contender, pace.seconds));
    });
  }
  const medianOf = (i: number, key: keyof HttpRound): number =>
    median((rounds[i] ?? []).map((one) => Number(one[key])));
  const { name } = what;
  const details = contenders.map((contender, i) => ({
    case: name,
    who: contender.name,
    cpu: medianOf(i, "cpu"),
    perSecond: medianOf(i, "perSecond"),
    p50Ms: medianOf(i, "p50Ms"),
    p99Ms: medianOf(i, "p99Ms"),
    rss: medianOf(i, "rss"),
    anonymous: medianOf(i, "anonymous"),
  }));
  const [ours, ...peers] = details;
  const cheapest = peers.reduce((best, one) => (one.cpu < best.cpu ? one : best));
  const [first] = peers;
  if (ours === undefined || first === undefined) return [];
  return [
    {
      name,
      measure: "CPU us/request",
      ours: ours.cpu,
      peer: cheapest.cpu,
      peerName: cheapest.who,
      ratio: ours.cpu / cheapest.cpu,
      ...asked,
      details,
    },
    {
      name,
      measure: "p99 ms",
      ours: ours.p99Ms,
      peer: first.p99Ms,
      ratio: ours.p99Ms / first.p99Ms,
      ...tail,
    },
  ];
}

function httpRound(what: LoadCase, who: Contender, seconds: number): HttpRound {
  const before = cpuMicros(who.pids);
  const load = what.load(who, seconds);
  const cpu = (cpuMicros(who.pids) - before) / load.requests;
  // A figure is one of requests that were answered, or of nothing.
  if (load.errors !== undefined) throw new Error(`${what.name}, ${who.name}: ${load.errors}`);
  const memory = who.pids.map(memoryOf);
  const sum = (key: "rss" | "anonymous"): number => memory.reduce((all, one) => all + one[key], 0);
  return { ...load, cpu, rss: sum("rss"), anonymous: sum("anonymous") };
}

export function bulkCase(mesh: Mesh, peers: Peers, pace: Pace): Row[] {
  const contenders: [Contender, Contender] = [
    { name: "ironmesh", address: mesh.plain, port: IPERF_PORT, pids: [mesh.agents.a] },
    { name: "haproxy", address: addressOf("a"), port: BULK_PORT, pids: [peers.haproxyBulk] },
  ];
  return bulkRows("TCP relay bulk, plaintext", contenders, pace, { must: 1.1, goal: 1.2 });
}

/** To iperf3 behind each of two, the first of which is ours. */
export function bulkRows(
  name: string,
  contenders: readonly [Contender, Contender],
  pace: Pace,
  asked: Asked,
): Row[] {
  const speeds = contenders.map((): number[] => []);
  const costs = contenders.map((): number[] => []);
  for (let round = -1; round < pace.rounds; round++) {
    contenders.forEach(({ address, port, pids }, i) => {
      const before = cpuMicros(pids);
      const speed = iperf("a", CLIENT_UID, address, port, pace.seconds);
      if (round < 0) return;
      speeds[i]?.push(speed);
      costs[i]?.push((cpuMicros(pids) - before) / 1e6 / ((speed * pace.seconds) / 8));
    });
  }
  const peerName = contenders[1].name;
  const [ours = Number.NaN, peer = Number.NaN] = speeds.map(median);
  const [oursCost = Number.NaN, peerCost = Number.NaN] = costs.map(median);
  return [
    {
      ...{ name, measure: "Gbit/s", ours, peer, peerName, ratio: ours / peer },
      ...asked,
      isMoreBetter: true,
    },
    {
      ...{ name, measure: "CPU s/GB", ours: oursCost, peer: peerCost, peerName },
      ratio: oursCost / peerCost,
    },
  ];
}
