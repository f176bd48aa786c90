// Datagrams there and back: what a proxy carries a second, and what each costs it. nginx's stream module does the same without identity,
// policy or figures; sealed between two hosts only we do.
import { mkdirSync } from "node:fs";
import {
  addressOf,
  DIRECTORY,
  type HostName,
  LOAD_CORE,
  PROXY_CORE,
  runToEnd,
  start,
  until,
} from "./hosts.ts";
import type { Contender, Pace } from "./load-cases.ts";
import { cpuMicros, median } from "./measure.ts";
import { CLIENT_UID, declare, type Mesh, vipOf } from "./mesh.ts";
import { write } from "./peers.ts";
import { program } from "./programs.ts";
import type { Row } from "./table.ts";

/** Declared to the mesh, and the same echo for the peer. */
const ECHO_PORTS = [9005, 9015] as const;
const NGINX_PORT = 8051;
const SERVER_UID = 62_304;
/** Where Debian's libnginx-mod-stream puts it. */
const STREAM_MODULE = "/usr/lib/nginx/modules/ngx_stream_module.so";
/** Of all that was asked: more lost, and the figures are of something else. */
const LOST_SHARE_MAX = 0.01;

const RESOURCES = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: datagrams }
spec:
  hosts: [datagrams.bench]
  resolution: STATIC
  ports:
    - { number: ${ECHO_PORTS[0]}, name: echo, protocol: UDP }
  endpoints:
    - address: ${addressOf("a")}
---
apiVersion: ironmesh.dev/v1
kind: Workload
metadata: { name: datagrams }
spec:
  hosts: [b]
  serviceAccount: backend
  process: { uid: ${SERVER_UID} }
  services:
    - name: datagrams
      ports:
        - { port: ${ECHO_PORTS[0]}, protocol: UDP }
`;

function startEcho(host: HostName, uid: number | undefined): void {
  const command = program("datagrams", "echo", ...ECHO_PORTS.map(String));
  start(host, command, { core: LOAD_CORE, ...(uid === undefined ? {} : { uid }) });
}

function startNginx(): number {
  const directory = `${DIRECTORY}/nginx-datagrams`;
  mkdirSync(directory, { recursive: true });
  const config = write(
    "datagrams.conf",
    `load_module ${STREAM_MODULE};
worker_processes 1; master_process off; pid ${directory}/pid; error_log /dev/null; daemon off; user root;
events { worker_connections 20000; }
stream { server { listen ${addressOf("a")}:${NGINX_PORT} udp rcvbuf=1m; proxy_pass ${addressOf("a")}:${ECHO_PORTS[1]}; proxy_timeout 60s; } }`,
  );
  return start("a", ["nginx", "-c", config], { core: PROXY_CORE }).pid ?? 0;
}

export async function datagramCase(mesh: Mesh, pace: Pace): Promise<Row[]> {
  await declare("datagrams", RESOURCES);
  startEcho("a", undefined);
  startEcho("b", SERVER_UID);
  const contenders: Contender[] = [
    {
      name: "ironmesh",
      address: await vipOf("datagrams.bench"),
      port: ECHO_PORTS[0],
      pids: [mesh.agents.a],
    },
    { name: "nginx", address: addressOf("a"), port: NGINX_PORT, pids: [startNginx()] },
    {
      name: "ironmesh, sealed",
      address: await vipOf("datagrams.default.mesh"),
      port: ECHO_PORTS[0],
      pids: [mesh.agents.a, mesh.agents.b],
    },
  ];
  for (const who of contenders)
    await until(`datagrams by ${who.name}`, () => ask(who, 0.2).answered > 0);
  const found = contenders.map((): Cost[] => []);
  for (let round = -1; round < pace.rounds; round++) {
    contenders.forEach((who, i) => {
      const before = cpuMicros(who.pids);
      const { answered, lost } = ask(who, pace.seconds);
      if (lost > answered * LOST_SHARE_MAX)
        throw new Error(`datagrams by ${who.name}: ${lost} lost, ${answered} answered`);
      const carried = 2 * answered; // question and answer
      const cpu = (cpuMicros(who.pids) - before) / carried;
      if (round >= 0) found[i]?.push({ cpu, perSecond: carried / pace.seconds });
    });
  }
  const [ours, nginx, sealed] = found.map((one) => ({
    cpu: median(one.map(({ cpu }) => cpu)),
    perSecond: median(one.map(({ perSecond }) => perSecond)),
  }));
  if (ours === undefined || nginx === undefined || sealed === undefined) return [];
  const name = "UDP one hop, plain, 100 B there and back";
  const peerName = "nginx";
  return [
    {
      name,
      measure: "datagrams/s",
      ours: ours.perSecond,
      peer: nginx.perSecond,
      peerName,
      ratio: ours.perSecond / nginx.perSecond,
      must: 1,
      goal: 1.3,
      isMoreBetter: true,
    },
    {
      name,
      measure: "CPU us/datagram",
      ours: ours.cpu,
      peer: nginx.cpu,
      peerName,
      ratio: ours.cpu / nginx.cpu,
    },
    {
      name: "UDP sealed, pair, 100 B there and back",
      measure: "datagrams/s",
      ours: sealed.perSecond,
    },
    {
      name: "UDP sealed, pair, 100 B there and back",
      measure: "CPU us/datagram",
      ours: sealed.cpu,
    },
  ];
}

interface Cost {
  readonly cpu: number;
  readonly perSecond: number;
}

function ask({ address, port }: Contender, seconds: number): { answered: number; lost: number } {
  const command = program("datagrams", "ask", address, `${port}`, `${seconds}`);
  const said = runToEnd("a", command, { core: LOAD_CORE, uid: CLIENT_UID });
  const [, answered, lost] = (/answered (\d+) lost (\d+)/.exec(said) ?? []).map(Number);
  if (answered === undefined || lost === undefined) throw new Error(`datagrams: ${said}`);
  return { answered, lost };
}
