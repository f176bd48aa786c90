// A pair at a steady 1,000 requests a second, as a service that is busy but not overrun: what it adds to each request, what CPU and
// memory it takes; and what memory many large bodies at once take at most.
import { readFileSync, writeFileSync } from "node:fs";
import { addressOf } from "./hosts.ts";
import type { Pace } from "./load-cases.ts";
import { cpuMicros, h2loadAnswers, median, memoryOf, share, wrk } from "./measure.ts";
import { CLIENT_UID, type Mesh } from "./mesh.ts";
import { BACKEND_PORT, PAIR_PORT, PEER_BACKEND_PORT, type Peers } from "./peers.ts";
import type { Row } from "./table.ts";

const RATE = 1_000;
const CONNECTIONS = 16;
const LARGE_CONNECTIONS = 256;

interface Steady {
  readonly p90Ms: number;
  readonly p99Ms: number;
  /** Of one core. */
  readonly cpu: number;
}

export function steadyCase(mesh: Mesh, peers: Peers, pace: Pace): Row[] {
  const pids = [mesh.agents.a, mesh.agents.b];
  const contenders = [
    { url: `http://${addressOf("b")}:${PEER_BACKEND_PORT}/1k`, pids: [] },
    { url: `http://${mesh.backend}:${BACKEND_PORT}/1k`, pids },
    { url: `http://${addressOf("a")}:${PAIR_PORT}/1k`, pids: peers.haproxyPair },
  ];
  const found = contenders.map((): Steady[] => []);
  for (let round = -1; round < pace.rounds; round++) {
    contenders.forEach(({ url, pids }, i) => {
      const one = steadily(url, pids, pace.seconds);
      if (round >= 0) found[i]?.push(one);
    });
  }
  const medianOf = (i: number, key: keyof Steady): number =>
    median((found[i] ?? []).map((one) => one[key]));
  const added = (i: number, key: "p90Ms" | "p99Ms"): number => medianOf(i, key) - medianOf(0, key);
  const name = `mTLS pair at ${RATE} requests/s, 1 KB, over direct`;
  const rss = Math.max(...pids.map((pid) => memoryOf(pid).rss));
  return [
    {
      name,
      measure: "p90 ms added",
      ours: added(1, "p90Ms"),
      peer: added(2, "p90Ms"),
      must: 0.4,
      goal: 0.2,
    },
    {
      name,
      measure: "p99 ms added",
      ours: added(1, "p99Ms"),
      peer: added(2, "p99Ms"),
      must: 0.88,
      goal: 0.4,
    },
    {
      name,
      measure: "vCPU of the pair",
      ours: medianOf(1, "cpu"),
      peer: medianOf(2, "cpu"),
      must: 0.1,
      goal: 0.05,
    },
    { name: `agent at ${RATE} requests/s`, measure: "RSS MB", ours: rss, must: 80, goal: 60 },
    {
      name: `agent at c${LARGE_CONNECTIONS} with bodies of 64 KB`,
      measure: "peak RSS MB",
      ours: peakMemory(mesh, pace.seconds),
      must: 100,
      goal: 80,
    },
  ];
}

function steadily(url: string, pids: readonly number[], seconds: number): Steady {
  const [before, startedMs] = [cpuMicros(pids), performance.now()];
  const rate = ["--rps", `${RATE / CONNECTIONS}`, "-D", `${seconds}`];
  const answers = h2loadAnswers("a", CLIENT_UID, ["--h1", "-t1", "-c1", ...rate, url], CONNECTIONS);
  const cpu = (cpuMicros(pids) - before) / 1_000 / (performance.now() - startedMs);
  const refused = answers.filter(({ status }) => status !== 200).length;
  const wanted = RATE * seconds * 0.9;
  if (refused > 0 || answers.length < wanted)
    throw new Error(`${url}: ${answers.length} requests in ${seconds} s, ${refused} refused`);
  const sorted = answers.map(({ ms }) => ms).sort((a, b) => a - b);
  return { p90Ms: share(sorted, 0.9), p99Ms: share(sorted, 0.99), cpu };
}

/** MiB, of the agent that took more. */
function peakMemory(mesh: Mesh, seconds: number): number {
  const pids = [mesh.agents.a, mesh.agents.b];
  for (const pid of pids) writeFileSync(`/proc/${pid}/clear_refs`, "5"); // proc(5): the peak is counted anew
  const url = `http://${mesh.backend}:${BACKEND_PORT}/64k`;
  const load = wrk("a", CLIENT_UID, url, { connections: LARGE_CONNECTIONS, seconds });
  if (load.errors !== undefined) throw new Error(`bodies of 64 KB: ${load.errors}`);
  return Math.max(...pids.map(peakOf));
}

const peakOf = (pid: number): number =>
  Number(/^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]) / 1_024;
