// What the size of the mesh costs a request: the same load with the services of this benchmark, and with 5,000 more and 1,000 policies.
import type { Pace } from "./load-cases.ts";
import { cpuMicros, median, wrk } from "./measure.ts";
import { CLIENT_UID, declare, type Mesh } from "./mesh.ts";
import { BACKEND_PORT } from "./peers.ts";
import type { Row } from "./table.ts";

const SERVICES = 5_000;
const POLICIES = 1_000;
const CONNECTIONS = 64;

export async function scaleCase(mesh: Mesh, pace: Pace): Promise<Row[]> {
  const small = costs(mesh, pace);
  await declare("scale", [...services(), ...policies()].join("---\n"));
  const large = costs(mesh, pace);
  const [before, after] = [median(small), median(large)];
  return [
    {
      name: `mTLS pair, 1 KB, c64, with ${SERVICES} services and ${POLICIES} policies more`,
      measure: "CPU us/request",
      ours: after,
      peer: before,
      peerName: "without",
      ratio: after / before,
      must: 1.05,
      goal: 1,
    },
  ];
}

function costs(mesh: Mesh, { rounds, seconds }: Pace): number[] {
  const pids = [mesh.agents.a, mesh.agents.b];
  const found: number[] = [];
  for (let round = -1; round < rounds; round++) {
    const before = cpuMicros(pids);
    const url = `http://${mesh.backend}:${BACKEND_PORT}/1k`;
    const load = wrk("a", CLIENT_UID, url, { connections: CONNECTIONS, seconds });
    if (load.errors !== undefined) throw new Error(`scale: ${load.errors}`);
    if (round >= 0) found.push((cpuMicros(pids) - before) / load.requests);
  }
  return found;
}

/** Each as an operator declares a service beside the mesh. */
const services = (): string[] =>
  Array.from(
    { length: SERVICES },
    (_, i) => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: scale-${i}, namespace: scale }
spec:
  hosts: [scale-${i}.example.com]
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 10.79.${Math.floor(i / 250)}.${1 + (i % 250)} }]
`,
  );

/** In the backend's own namespace, so that its agent has all of them; each for some other workload of it. */
const policies = (): string[] =>
  Array.from(
    { length: POLICIES },
    (_, i) => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: scale-${i}, namespace: default }
spec:
  selector: { matchLabels: { app: scale-${i} } }
  action: DENY
  rules:
    - from: [{ source: { principals: [mesh.local/ns/scale/sa/caller-${i}] } }]
      to: [{ operation: { paths: ["/scale/${i}/*"] } }]
`,
  );
