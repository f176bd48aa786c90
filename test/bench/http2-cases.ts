// HTTP/2 and gRPC, 100 streams at once on each of 1 and 8 connections. What is asked is held against one hop in plaintext, HTTP/2 on
// both sides of the proxy: no cost of TLS hides what the protocol costs. An mTLS pair is told beside it.
import { writeFileSync } from "node:fs";
import { addressOf, DIRECTORY, LOAD_CORE, runToEnd, until } from "./hosts.ts";
import {
  GRPC_BACKEND,
  GRPC_HOP_PORT,
  GRPC_PAIR_PORT,
  HTTP2_BACKEND,
  HTTP2_HOP_PORT,
  startHttp2Peers,
} from "./http2-peers.ts";
import { type Contender, httpRows, type LoadCase, type Pace } from "./load-cases.ts";
import { h2load } from "./measure.ts";
import { CLIENT_UID, declare, type Mesh, vipOf } from "./mesh.ts";
import type { Row } from "./table.ts";

const STREAMS = 100;
const CONNECTIONS = [1, 8] as const;
const ASKED = { must: 0.85, goal: 0.6 };
const SERVER_UID = 62_303;
const CALL = "/bench.Service/Call";
const CALL_HEADERS = ["content-type: application/grpc", "te: trailers"];
const MESSAGE_BYTES = 100;

const RESOURCES = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: http2 }
spec:
  hosts: [http2.bench]
  resolution: STATIC
  ports:
    - { number: ${HTTP2_BACKEND[0]}, name: pages, protocol: HTTP2 }
    - { number: ${GRPC_BACKEND[0]}, name: calls, protocol: GRPC }
  endpoints:
    - address: ${addressOf("a")}
---
apiVersion: ironmesh.dev/v1
kind: Workload
metadata: { name: calls }
spec:
  hosts: [b]
  serviceAccount: backend
  process: { uid: ${SERVER_UID} }
  services:
    - name: calls
      ports:
        - { port: ${GRPC_BACKEND[0]}, protocol: GRPC }
`;

export async function http2Case(mesh: Mesh, pace: Pace): Promise<Row[]> {
  await declare("http2", RESOURCES);
  const peers = startHttp2Peers(SERVER_UID);
  const [plain, calls, a] = [
    await vipOf("http2.bench"),
    await vipOf("calls.default.mesh"),
    addressOf("a"),
  ];
  const [ours, pair] = [[mesh.agents.a], [mesh.agents.a, mesh.agents.b]];
  const hop = [peers.hop];
  const pages: Contender[] = [
    { name: "ironmesh", address: plain, port: HTTP2_BACKEND[0], pids: ours },
    { name: "haproxy", address: a, port: HTTP2_HOP_PORT, pids: hop },
  ];
  const oneHop: Contender[] = [
    { name: "ironmesh", address: plain, port: GRPC_BACKEND[0], pids: ours },
    { name: "haproxy", address: a, port: GRPC_HOP_PORT, pids: hop },
  ];
  const twoHops: Contender[] = [
    { name: "ironmesh", address: calls, port: GRPC_BACKEND[0], pids: pair },
    { name: "haproxy", address: a, port: GRPC_PAIR_PORT, pids: peers.pair },
  ];
  const body = writeMessage();
  for (const who of pages) await until(`HTTP/2 by ${who.name}`, () => answersPage(who));
  for (const who of [...oneHop, ...twoHops])
    await until(`gRPC by ${who.name}`, () => answersCall(who, body));
  const connectionCounts = pace.isBrief === true ? CONNECTIONS.slice(0, 1) : CONNECTIONS;
  const rows = connectionCounts.flatMap((connections) => [
    ...httpRows(
      byH2load("HTTP/2 one hop, plaintext, 100 B", "/100", connections),
      pages,
      pace,
      ASKED,
      {},
    ),
    ...httpRows(
      byH2load("gRPC unary one hop, plaintext, 100 B", CALL, connections, body),
      oneHop,
      pace,
      ASKED,
      {},
    ),
  ]);
  if (pace.isBrief === true) return rows;
  const told = CONNECTIONS.map((connections) =>
    byH2load("gRPC unary, mTLS pair, 100 B", CALL, connections, body),
  );
  return [...rows, ...told.flatMap((one) => httpRows(one, twoHops, pace, {}, {}))];
}

const byH2load = (what: string, path: string, connections: number, body?: string): LoadCase => ({
  name: `${what}, ${STREAMS} streams over ${connections}`,
  load: ({ address, port }, seconds) =>
    h2load("a", CLIENT_UID, `http://${address}:${port}${path}`, {
      streams: STREAMS,
      connections,
      seconds,
      ...(body === undefined ? {} : { body, headers: CALL_HEADERS }),
    }),
});

/** The file of one message with its prefix: not compressed, and its length. */
function writeMessage(): string {
  const file = `${DIRECTORY}/message`;
  writeFileSync(file, Uint8Array.of(0, 0, 0, 0, MESSAGE_BYTES, ...new Uint8Array(MESSAGE_BYTES)));
  return file;
}

const answersPage = (who: Contender): boolean => /^HTTP\/2 200/.test(curl(who, "/100", []));

/** With its trailers, so that what is measured is calls that succeed. */
function answersCall(who: Contender, body: string): boolean {
  const posted = ["--data-binary", `@${body}`, ...CALL_HEADERS.flatMap((header) => ["-H", header])];
  const heads = curl(who, CALL, posted);
  return /^HTTP\/2 200/.test(heads) && /^grpc-status: 0/m.test(heads);
}

/** The heads of an answer; empty: there was none. */
function curl({ address, port }: Contender, path: string, more: readonly string[]): string {
  const command = [
    "curl",
    "-s",
    "-m",
    "1",
    "--http2-prior-knowledge",
    "-D",
    "-",
    "-o",
    "/dev/null",
  ];
  try {
    return runToEnd("a", [...command, ...more, `http://${address}:${port}${path}`], {
      core: LOAD_CORE,
      uid: CLIENT_UID,
    });
  } catch {
    return ""; // it does not listen yet
  }
}
