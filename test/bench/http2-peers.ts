// HAProxy with HTTP/2 on both of its sides, and the backends behind it and behind ours: nginx for pages, a gRPC server of ours. Headers,
// reuse and TLS are those of peers.ts.
import { mkdirSync } from "node:fs";
import { addressOf, DIRECTORY, type HostName, LOAD_CORE, PROXY_CORE, start } from "./hosts.ts";
import { DEFAULTS, HEADERS, TLS_CLIENT, TLS_SERVER, write } from "./peers.ts";
import { program } from "./programs.ts";

/** Declared to the mesh; those of the peers are the second. */
export const HTTP2_BACKEND = [9003, 9013] as const;
export const GRPC_BACKEND = [9004, 9014] as const;
export const HTTP2_HOP_PORT = 8041;
export const GRPC_HOP_PORT = 8042;
export const GRPC_PAIR_PORT = 8043;
const GRPC_TLS_PORT = 8044;

/** 100 B at any path, HTTP/2 by prior knowledge. */
function startPages(): void {
  const directory = `${DIRECTORY}/nginx-http2`;
  mkdirSync(directory, { recursive: true });
  const config = write(
    "backend-http2.conf",
    `worker_processes 1; master_process off; pid ${directory}/pid; error_log /dev/null; daemon off; user root;
events { worker_connections 20000; }
http { access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; http2_max_concurrent_streams 1000;
  server { ${HTTP2_BACKEND.map((port) => `listen 0.0.0.0:${port} http2 backlog=4096;`).join(" ")} location / { return 200 "${"x".repeat(100)}"; } } }`,
  );
  start("a", ["nginx", "-c", config], { core: LOAD_CORE });
}

function startCalls(host: HostName, uid: number | undefined): void {
  const command = program("grpc-server", ...GRPC_BACKEND.map(String));
  start(host, command, { core: LOAD_CORE, ...(uid === undefined ? {} : { uid }) });
}

/** As peers.ts has it, with HTTP/2 towards the client: `bind` and `server` say where and how. */
const section = (name: string, bind: string, server: string): string => `
frontend ${name}
  bind ${bind}${HEADERS}
  default_backend ${name}
backend ${name}
  server s ${server}`;

export interface Http2Peers {
  readonly hop: number;
  readonly pair: readonly number[];
}

/** `uid`: of the gRPC server in b. */
export function startHttp2Peers(uid: number): Http2Peers {
  startPages();
  startCalls("a", undefined);
  startCalls("b", uid);
  const [a, b] = [addressOf("a"), addressOf("b")];
  const hop = [
    section("pages", `${a}:${HTTP2_HOP_PORT} proto h2`, `${a}:${HTTP2_BACKEND[1]} proto h2`),
    section("calls", `${a}:${GRPC_HOP_PORT} proto h2`, `${a}:${GRPC_BACKEND[1]} proto h2`),
  ];
  // `proto h2` beside the ALPN: requests that come while a connection is made share it. Without, 800 streams at once are as many
  // handshakes, a third more CPU and twice the memory, and the seconds in which nothing was answered.
  const out = section(
    "calls",
    `${a}:${GRPC_PAIR_PORT} proto h2`,
    `${b}:${GRPC_TLS_PORT} ${TLS_CLIENT} alpn h2 proto h2`,
  );
  const into = section(
    "calls",
    `${b}:${GRPC_TLS_PORT} ${TLS_SERVER} alpn h2`,
    `${b}:${GRPC_BACKEND[1]} proto h2`,
  );
  const haproxy = (host: HostName, name: string, sections: string): number => {
    const config = write(`haproxy-${name}.cfg`, `${DEFAULTS}${sections}`);
    return start(host, ["haproxy", "-db", "-f", config], { core: PROXY_CORE }).pid ?? 0;
  };
  return {
    hop: haproxy("a", "http2-hop", hop.join("")),
    pair: [haproxy("b", "http2-in", into), haproxy("a", "http2-out", out)],
  };
}
