// A client of the benchmark, run inside host b: applies changes of one resource, one after the other, and says how long each took from
// the request to the last agent's ack. `bun change.ts AGENTS ROUNDS`; needs the operator's context in the environment.
import { setTimeout } from "node:timers/promises";
import type { ResourceDocument } from "../../agent/api/session.ts";
import { chooseContext } from "../../cli/contexts.ts";
import { ServerClient } from "../../cli/server-client.ts";

const POLL_MS = 20;
const GIVES_UP_MS = 20_000;
/** Between two changes: the agents write the last one to disk and are idle again. */
const REST_MS = 1_000;

const [agents, rounds] = process.argv.slice(2).map(Number) as [number, number];
const client = new ServerClient(chooseContext(process.env, process.env["IRONMESH_CONTEXT"]));

const change = (round: number): ResourceDocument => ({
  apiVersion: "networking.istio.io/v1",
  kind: "DestinationRule",
  metadata: { name: "backend", namespace: "default" },
  spec: {
    host: "backend",
    trafficPolicy: { connectionPool: { tcp: { maxConnections: 10_000 + round } } },
  },
});

async function untilAcked(version: number): Promise<void> {
  const startedMs = performance.now();
  for (;;) {
    const { hosts } = await client.status();
    const acked = hosts.filter((host) => (host.ackedVersion ?? -1) >= version);
    if (acked.length >= agents) return;
    if (performance.now() - startedMs > GIVES_UP_MS)
      throw new Error(`${acked.length} of ${agents} agents run version ${version}`);
    await setTimeout(POLL_MS);
  }
}

const took: number[] = [];
for (let round = 0; round < rounds; round++) {
  await setTimeout(REST_MS);
  const startedMs = performance.now();
  const { version } = await client.apply([change(round)], false);
  await untilAcked(version);
  took.push(performance.now() - startedMs);
}
console.log(`took ${JSON.stringify(took)}`);
