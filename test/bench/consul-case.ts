// TCP between two hosts under mTLS, ours against Consul's built-in proxy: a Consul server of one member, in b, whose CA signs both proxies;
// `consul connect proxy` at each end, as its documentation runs them.

import { consulExecutable } from "../support/consul.ts";
import { inTurns } from "./connection-cases.ts";
import {
  addressOf,
  answers,
  DIRECTORY,
  LOAD_CORE,
  PROXY_CORE,
  runToEnd,
  start,
  until,
} from "./hosts.ts";
import { bulkRows, type Contender, type Pace } from "./load-cases.ts";
import { CLIENT_UID, declare, type Mesh, vipOf } from "./mesh.ts";
import { OPAQUE_PORT, PEER_BACKEND_PORT, write } from "./peers.ts";
import type { Row } from "./table.ts";

const API_PORT = 8500;
const IPERF_UID = 62_305;
/** Declared to the mesh; that of the peer is the second. */
const IPERF = [9005, 9015] as const;
const ROUNDS_MAX = 5;
/** Where each service is dialled in a, and where its proxy listens in b. */
const SERVICES = [
  { name: "small", at: 8051, tls: 8053, port: PEER_BACKEND_PORT },
  { name: "bulk", at: 8052, tls: 8054, port: IPERF[1] },
] as const;

const RESOURCES = `
apiVersion: ironmesh.dev/v1
kind: Workload
metadata: { name: bulk }
spec:
  hosts: [b]
  serviceAccount: backend
  process: { uid: ${IPERF_UID} }
  services:
    - name: bulk
      ports:
        - { port: ${IPERF[0]}, protocol: TCP }
`;

export async function consulCase(mesh: Mesh, { rounds, ...pace }: Pace): Promise<Row[]> {
  for (const port of IPERF)
    start("b", ["iperf3", "-s", "-p", `${port}`], { core: LOAD_CORE, uid: IPERF_UID });
  await declare("bulk", RESOURCES);
  const consul = await startConsul();
  const few = { ...pace, rounds: Math.min(rounds, ROUNDS_MAX) };
  const ours = [mesh.agents.a, mesh.agents.b];
  const theirs = (name: "small" | "bulk"): Contender => ({
    ...{ name: "consul", address: addressOf("a"), pids: consul[name] },
    port: SERVICES.find((one) => one.name === name)?.at ?? 0,
  });
  const small = [
    { name: "ironmesh", address: mesh.backend, port: OPAQUE_PORT, pids: ours },
    theirs("small"),
  ];
  const bulk = await vipOf("bulk.default.mesh");
  const rows = [
    ...smallRows(await inTurns(small, few, [])),
    ...bulkRows(
      "TCP mTLS pair, bulk",
      [{ name: "ironmesh", address: bulk, port: IPERF[0], pids: ours }, theirs("bulk")],
      few,
      {},
    ),
  ];
  for (const pid of consul.all) process.kill(pid, "SIGKILL");
  return rows;
}

function smallRows([ours, peer]: Awaited<ReturnType<typeof inTurns>>): Row[] {
  if (ours === undefined || peer === undefined) return [];
  const name = "TCP mTLS pair, small requests and responses, c64";
  const row = (measure: string, key: "cpu" | "perSecond"): Row => ({
    ...{ name, measure, ours: ours[key], peer: peer[key], peerName: "consul" },
    ratio: ours[key] / peer[key],
  });
  return [row("CPU us/request", "cpu"), row("per second", "perSecond")];
}

/** Process ids: of the pair for each service, and of all. */
interface Consul {
  readonly small: readonly number[];
  readonly bulk: readonly number[];
  readonly all: readonly number[];
}

async function startConsul(): Promise<Consul> {
  const [a, b] = [addressOf("a"), addressOf("b")];
  const executable = consulExecutable();
  const config = write("consul.json", JSON.stringify(serverConfig(b)));
  const server = start("b", [executable, "agent", `-config-file=${config}`], {
    core: LOAD_CORE,
    log: `${DIRECTORY}/consul-server.log`,
  });
  await until("a leader of Consul", () =>
    answers("b", `http://${b}:${API_PORT}/v1/connect/ca/roots`),
  );
  const proxy = (host: "a" | "b", id: string): number => {
    const command = [executable, "connect", "proxy", `-http-addr=${b}:${API_PORT}`];
    const log = `${DIRECTORY}/consul-${id}.log`;
    return start(host, [...command, `-proxy-id=${id}`], { core: PROXY_CORE, log }).pid ?? 0;
  };
  const [small = [], bulk = []] = SERVICES.map(({ name }) => [
    proxy("b", `${name}-in`),
    proxy("a", `${name}-out`),
  ]);
  for (const { name, tls } of SERVICES)
    await until(`Consul's proxy of ${name}`, () => speaksTls13(`${b}:${tls}`));
  await until("Consul's pair", () => answers("a", `http://${a}:${SERVICES[0].at}/100`));
  return { small, bulk, all: [server.pid ?? 0, ...small, ...bulk] };
}

const serverConfig = (b: string) => ({
  ...{ server: true, bootstrap_expect: 1, node_name: "consul", log_level: "warn" },
  ...{ data_dir: `${DIRECTORY}/consul`, bind_addr: b, client_addr: b },
  ports: { http: API_PORT, serf_wan: -1, dns: -1, grpc: -1 },
  ...{ connect: { enabled: true }, performance: { raft_multiplier: 1 } },
  disable_update_check: true,
  services: SERVICES.flatMap(({ name, at, tls, port }) => [
    { name, id: name, port },
    { name: `${name}-client`, id: `${name}-client`, port: 1 },
    {
      ...{ name: `${name}-in`, id: `${name}-in`, kind: "connect-proxy", address: b, port: tls },
      proxy: {
        ...{ destination_service_name: name, destination_service_id: name },
        ...{ local_service_address: b, local_service_port: port },
      },
    },
    {
      ...{ name: `${name}-out`, id: `${name}-out`, kind: "connect-proxy" },
      ...{ address: addressOf("a"), port: at + 10 }, // its inbound side, which nobody dials
      proxy: {
        destination_service_name: `${name}-client`,
        ...{ destination_service_id: `${name}-client` },
        ...{ local_service_address: "127.0.0.1", local_service_port: 1 },
        upstreams: [
          { destination_name: name, local_bind_address: addressOf("a"), local_bind_port: at },
        ],
      },
    },
  ]),
});

/** What ours speaks, so that the same work is compared: TLS 1.3, and a certificate of P-256 (whose signatures are over SHA-256). */
function speaksTls13(address: string): boolean {
  const script = `openssl s_client -brief -connect ${address} </dev/null 2>&1 || true`;
  const said = runToEnd("a", ["sh", "-c", script], { core: LOAD_CORE, uid: CLIENT_UID });
  return said.includes("TLSv1.3") && /Signature type: ECDSA/.test(said);
}
