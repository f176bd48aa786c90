// What short and small TCP costs: a new mTLS connection between two hosts for every request, and request and response on connections
// that stay, relayed as bytes.
import { addressOf } from "./hosts.ts";
import type { Contender, Pace } from "./load-cases.ts";
import { cpuMicros, median, wrk } from "./measure.ts";
import { CLIENT_UID, type Mesh } from "./mesh.ts";
import { NEW_PORT, OPAQUE_PORT, type Peers, SMALL_PORT } from "./peers.ts";
import type { Row } from "./table.ts";

const CONNECTIONS = 64;
const PATH = "/100";

/** Opaque TCP: each of the client's connections is a TLS connection between the proxies. */
export function newConnectionsCase(mesh: Mesh, peers: Peers, pace: Pace): Row[] {
  const contenders: Contender[] = [
    {
      name: "ironmesh",
      address: mesh.backend,
      port: OPAQUE_PORT,
      pids: [mesh.agents.a, mesh.agents.b],
    },
    { name: "haproxy", address: addressOf("a"), port: NEW_PORT.full, pids: peers.haproxyFull },
    {
      name: "haproxy resuming",
      address: addressOf("a"),
      port: NEW_PORT.resumed,
      pids: peers.haproxyFull,
    },
  ];
  const wanted = pace.isBrief === true ? contenders.slice(0, 2) : contenders;
  const [ours, full, resumed] = inTurns(wanted, pace, ["connection: close"]);
  if (ours === undefined || full === undefined) return [];
  const name = "new mTLS connections, pair, full handshakes";
  const rows: Row[] = [
    {
      name,
      measure: "per second",
      ours: ours.perSecond,
      peer: full.perSecond,
      ratio: ours.perSecond / full.perSecond,
      must: 1.5,
      goal: 2,
      isMoreBetter: true,
    },
    { name, measure: "CPU us each", ours: ours.cpu, peer: full.cpu, ratio: ours.cpu / full.cpu },
  ];
  if (resumed !== undefined)
    rows.push({
      name: "the same, haproxy resuming sessions, ours not",
      measure: "per second",
      ours: ours.perSecond,
      peer: resumed.perSecond,
      ratio: ours.perSecond / resumed.perSecond,
    });
  return rows;
}

export function smallTcpCase(mesh: Mesh, peers: Peers, pace: Pace): Row[] {
  const contenders: Contender[] = [
    { name: "ironmesh", address: mesh.plain, port: OPAQUE_PORT, pids: [mesh.agents.a] },
    { name: "haproxy", address: addressOf("a"), port: SMALL_PORT, pids: [peers.haproxyBulk] },
  ];
  const [ours, peer] = inTurns(contenders, pace, []);
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

interface Cost {
  readonly cpu: number;
  readonly perSecond: number;
}

function inTurns(
  contenders: readonly Contender[],
  { rounds, seconds }: Pace,
  headers: readonly string[],
): Cost[] {
  const found = contenders.map((): Cost[] => []);
  for (let round = -1; round < rounds; round++) {
    contenders.forEach(({ name, address, port, pids }, i) => {
      const before = cpuMicros(pids);
      const url = `http://${address}:${port}${PATH}`;
      const load = wrk("a", CLIENT_UID, url, { connections: CONNECTIONS, seconds, headers });
      if (load.errors !== undefined) throw new Error(`${name}: ${load.errors}`);
      const cpu = (cpuMicros(pids) - before) / load.requests;
      if (round >= 0) found[i]?.push({ cpu, perSecond: load.perSecond });
    });
  }
  return found.map((one) => ({
    cpu: median(one.map(({ cpu }) => cpu)),
    perSecond: median(one.map(({ perSecond }) => perSecond)),
  }));
}
