// What our own code costs a request, without the kernel: the real data path over streams that take everything at once.
// `bun test/bench/script-cost.ts`: nanoseconds a request, for the caller's agent in plaintext and for the server's agent.

import { MESH_ALPN_HTTP } from "../../agent/api/mesh-wire.ts";
import type { MeshPeer, StreamHandler } from "../../agent/base/net.ts";
import { CLIENT_ID, endpoint, SERVER_NAME, serverWorkload, VIP } from "../support/mesh-fixture.ts";
import { IGNORED, nanosOf, planeOf, TakingStream } from "./cost-plane.ts";

const CONNECTIONS = 64;
const REQUESTS = 200_000;
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const REQUEST = bytesOf(
  "GET /100 HTTP/1.1\r\nHost: 240.240.0.1:9000\r\naccept: */*\r\nuser-agent: bench/1\r\n\r\n",
);
const TRACED = bytesOf(
  `GET /100 HTTP/1.1\r\nHost: 240.240.0.1:9000\r\naccept: */*\r\nuser-agent: bench/1\r\nx-request-id: ${crypto.randomUUID()}\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n`,
);
const RESPONSE = bytesOf(
  `HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Tue, 24 Nov 2026 15:15:21 GMT\r\nContent-Type: text/plain\r\nContent-Length: 100\r\nConnection: keep-alive\r\n\r\n${"x".repeat(100)}`,
);

/** Who was written to last. */
let asked: TakingStream | undefined;
const taking = (handler: StreamHandler, mesh?: MeshPeer): TakingStream =>
  new TakingStream(handler, mesh, (stream) => {
    asked = stream;
  });

function measure(
  name: string,
  request: Uint8Array,
  accept: (stream: TakingStream) => void,
  mesh?: MeshPeer,
): void {
  const streams = Array.from({ length: CONNECTIONS }, () => taking(IGNORED, mesh));
  streams.forEach(accept);
  const serveAll = (): void => {
    for (let i = 0; i < REQUESTS; i++) {
      streams[i % CONNECTIONS]?.receive(request);
      asked?.receive(RESPONSE);
    }
  };
  console.log(`${name.padEnd(34)} ${nanosOf(serveAll, REQUESTS)} ns a request`);
}

const caller = planeOf("client", { endpoints: [endpoint(0, { mesh: undefined })] }, (handler) =>
  taking(handler),
);
const original = { address: VIP, port: 80 };
measure("caller's agent, plaintext", REQUEST, (stream) =>
  caller.acceptOutbound(stream, original, undefined),
);
const server = planeOf("server", { workloads: [serverWorkload()] }, (handler) => taking(handler));
const peer = { identity: CLIENT_ID, serverName: SERVER_NAME, alpn: MESH_ALPN_HTTP };
measure("server's agent, behind mTLS", TRACED, (stream) => server.acceptMesh(stream), peer);
