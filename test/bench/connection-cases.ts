// What short and small TCP costs: a new mTLS connection between two hosts for every request, and request and response on connections
// that stay, relayed as bytes.
import { connect } from "node:net";
import { addressOf } from "./hosts.ts";
import type { Contender, Pace } from "./load-cases.ts";
import { cpuMicros, median, wrk } from "./measure.ts";
import { CLIENT_UID, countersOf, type Mesh, restart } from "./mesh.ts";
import { FULL_STATS, NEW_PORT, OPAQUE_PORT, type Peers, SMALL_PORT } from "./peers.ts";
import type { Row } from "./table.ts";

const CONNECTIONS = 64;
const PATH = "/100";
const NEW = "new mTLS connections, pair";
const MANY_THREADS = 4;

/** Opaque TCP: each of the client's connections is a TLS connection between the proxies. Whether it was resumed is the accepting proxy's
 *  own count, so no row says of handshakes what they were not. */
export async function newConnectionsCase(mesh: Mesh, peers: Peers, pace: Pace): Promise<Row[]> {
  const ours = (): Ends => ({
    ...{ name: "ironmesh", address: mesh.backend, port: OPAQUE_PORT },
    ...{ pids: [mesh.agents.a, mesh.agents.b], handshakes: ourHandshakes },
  });
  const haproxy = (port: number): Ends => ({
    ...{ name: "haproxy", address: addressOf("a"), port },
    ...{ pids: peers.haproxyFull, handshakes: haproxyHandshakes },
  });
  // Brief is Deno, which resumes nothing (record 28).
  if (pace.isBrief !== true) await restart(mesh, "a", 1, ["--tls-resumption", "never"]);
  const full = await inTurns([ours(), haproxy(NEW_PORT.full)], pace, CLOSING);
  for (const one of full) expectShare(one.resumed, 0, 0.01);
  const fullRows = newRows(`${NEW}, full handshakes`, full, { must: 1.5, goal: 2 });
  if (pace.isBrief === true) return fullRows;
  await restart(mesh, "a", 1);
  const resumed = await inTurns([ours(), haproxy(NEW_PORT.resumed)], pace, CLOSING);
  for (const one of resumed) expectShare(one.resumed, 0.9, 1);
  for (const host of ["a", "b"] as const) await restart(mesh, host, MANY_THREADS);
  const [many] = await inTurns([ours()], { ...pace, rounds: Math.min(pace.rounds, 3) }, CLOSING);
  for (const host of ["a", "b"] as const) await restart(mesh, host, 1);
  const threads = `${NEW}, resuming, ${MANY_THREADS} data threads on one core`;
  return [
    ...fullRows,
    ...newRows(`${NEW}, both resuming`, resumed, { must: 1, goal: 1.5 }),
    { name: threads, measure: "per second", ours: many?.perSecond ?? Number.NaN },
    { name: threads, measure: "% resumed", ours: 100 * (many?.resumed ?? Number.NaN) },
  ];
}

const CLOSING = ["connection: close"];

function newRows(name: string, [ours, peer]: Cost[], asked: { must: number; goal: number }): Row[] {
  if (ours === undefined || peer === undefined) return [];
  const row = (measure: string, key: keyof Cost, scale = 1): Row => ({
    ...{ name, measure, ours: ours[key] * scale, peer: peer[key] * scale },
  });
  return [
    {
      ...row("per second", "perSecond"),
      ratio: ours.perSecond / peer.perSecond,
      isMoreBetter: true,
      ...asked,
    },
    { ...row("CPU us each", "cpu"), ratio: ours.cpu / peer.cpu },
    { ...row("p99 ms", "p99Ms"), ratio: ours.p99Ms / peer.p99Ms },
    row("% resumed", "resumed", 100),
  ];
}

function expectShare(share: number, least: number, most: number): void {
  if (!(share >= least && share <= most))
    throw new Error(`${share} of the handshakes were resumed, not ${least} to ${most}`);
}

/** Of the proxy that accepts, since it began. */
interface Handshakes {
  readonly all: number;
  readonly resumed: number;
}

async function ourHandshakes(): Promise<Handshakes> {
  const names = ["ironmesh_mesh_handshakes_total", "ironmesh_mesh_resumed_total"];
  const [all = Number.NaN, resumed = Number.NaN] = await countersOf("b", ...names);
  return { all, resumed };
}

/** HAProxy's management guide, 9.1: a line of names and a line for each frontend. */
async function haproxyHandshakes(): Promise<Handshakes> {
  const [names = "", ...lines] = (await told("show stat\n")).trim().split("\n");
  const values = lines.find((line) => line.startsWith("f,FRONTEND,"))?.split(",") ?? [];
  const field = (name: string): number => {
    const at = names.split(",").indexOf(name);
    if (at < 0 || values[at] === undefined) throw new Error(`haproxy counts no ${name}`);
    return Number(values[at]);
  };
  const resumed = field("ssl_reused_sess");
  return { all: field("ssl_sess") + resumed, resumed }; // it counts a handshake as one or the other
}

function told(command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const socket = connect(FULL_STATS, () => socket.write(command));
    socket.on("data", (data) => {
      text += data.toString("latin1");
    });
    socket.on("end", () => resolve(text));
    socket.on("error", reject);
  });
}

export async function smallTcpCase(mesh: Mesh, peers: Peers, pace: Pace): Promise<Row[]> {
  const contenders: Contender[] = [
    { name: "ironmesh", address: mesh.plain, port: OPAQUE_PORT, pids: [mesh.agents.a] },
    { name: "haproxy", address: addressOf("a"), port: SMALL_PORT, pids: [peers.haproxyBulk] },
  ];
  const [ours, peer] = await inTurns(contenders, pace, []);
  if (ours === undefined || peer === undefined) return [];
  return [
    {
      name: "TCP relay, small requests and responses, plaintext, c64",
      measure: "CPU us/request",
      ours: ours.cpu,
      peer: peer.cpu,
      ratio: ours.cpu / peer.cpu,
      must: 1,
      goal: 0.9,
    },
  ];
}

/** Who takes part; with `handshakes`, those of its pair are counted. */
interface Ends extends Contender {
  readonly handshakes?: () => Promise<Handshakes>;
}

interface Cost {
  readonly cpu: number;
  readonly perSecond: number;
  readonly p99Ms: number;
  /** Of the handshakes; NaN: they were not counted. */
  readonly resumed: number;
}

/** The median of each over the rounds, with a request of wrk for each of CONNECTIONS at a time. */
export async function inTurns(
  contenders: readonly Ends[],
  { rounds, seconds }: Pace,
  headers: readonly string[],
): Promise<Cost[]> {
  const found = contenders.map((): Cost[] => []);
  for (let round = -1; round < rounds; round++) {
    for (const [i, contender] of contenders.entries()) {
      const cost = await oneTurn(contender, seconds, headers);
      if (round >= 0) found[i]?.push(cost);
    }
  }
  return found.map((one) => ({
    cpu: median(one.map(({ cpu }) => cpu)),
    perSecond: median(one.map(({ perSecond }) => perSecond)),
    p99Ms: median(one.map(({ p99Ms }) => p99Ms)),
    resumed: median(one.map(({ resumed }) => resumed)),
  }));
}

async function oneTurn(
  { name, address, port, pids, handshakes }: Ends,
  seconds: number,
  headers: readonly string[],
): Promise<Cost> {
  const [counted, before] = [await handshakes?.(), cpuMicros(pids)];
  const url = `http://${address}:${port}${PATH}`;
  const load = wrk("a", CLIENT_UID, url, { connections: CONNECTIONS, seconds, headers });
  if (load.errors !== undefined) throw new Error(`${name}: ${load.errors}`);
  const cpu = (cpuMicros(pids) - before) / load.requests;
  const { perSecond, p99Ms } = load;
  const after = await handshakes?.();
  if (counted === undefined || after === undefined)
    return { cpu, perSecond, p99Ms, resumed: Number.NaN };
  const all = after.all - counted.all;
  if (all < load.requests)
    throw new Error(`${name}: ${all} connections for ${load.requests} requests`);
  return { cpu, perSecond, p99Ms, resumed: (after.resumed - counted.resumed) / all };
}
