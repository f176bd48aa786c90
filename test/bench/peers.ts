// HAProxy and nginx configured as their users would for the same work: request ids, trace header, forwarded-for; keep-alive to
// the backend; TLS 1.3 with client certificates where we have them.
import { execFileSync } from "node:child_process";
import { chownSync, mkdirSync, writeFileSync } from "node:fs";
import { addressOf, answers, DIRECTORY, LOAD_CORE, PROXY_CORE, start, until } from "./hosts.ts";

/** Declared to the mesh, so what dials it is redirected: the peers have a port, and an iperf3, of their own. */
export const BACKEND_PORT = 9000;
/** The same backend, declared opaque. */
export const OPAQUE_PORT = 9002;
export const IPERF_PORT = 5201;
export const PEER_BACKEND_PORT = 9001;
const PEER_IPERF_PORT = 5202;
export const HOP_PORT = { haproxy: 8001, nginx: 8002 } as const;
export const PAIR_PORT = 8011;
export const BULK_PORT = 8021;
const TLS_PORT = 8012;
export const SMALL_PORT = 8022;
/** To the pair that relays bytes: with a full handshake each, and with sessions resumed. */
export const NEW_PORT = { full: 8031, resumed: 8032 } as const;
const NEW_TLS_PORT = 8033;

export const HEADERS = `
  http-request set-header x-request-id %[uuid()]
  http-request set-header x-forwarded-for %[src]
  http-request set-header traceparent 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01`;
export const DEFAULTS = `
global
  nbthread 1
  maxconn 6000
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  http-reuse always`;

export function write(name: string, text: string): string {
  writeFileSync(`${DIRECTORY}/${name}`, `${text}\n`);
  return `${DIRECTORY}/${name}`;
}

/** Serves 100 B at /100, 1 KB at /1k and in chunks at /chunked, 64 KB at /64k. */
export function startBackend(host: "a" | "b", uid: number | undefined): void {
  mkdirSync(`${DIRECTORY}/nginx-${host}`, { recursive: true });
  if (uid !== undefined) chownSync(`${DIRECTORY}/nginx-${host}`, uid, uid);
  const pages = `${DIRECTORY}/pages`;
  mkdirSync(pages, { recursive: true });
  writeFileSync(`${pages}/64k`, "x".repeat(65_536));
  writeFileSync(`${pages}/chunked`, "x".repeat(1_024));
  const config = write(
    `backend-${host}.conf`,
    `worker_processes 1; pid ${DIRECTORY}/nginx-${host}/backend.pid; error_log /dev/null; daemon off;
${uid === undefined ? "user root;" : ""}
events { worker_connections 20000; }
http { access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
  client_body_temp_path ${DIRECTORY}/nginx-${host}/c; proxy_temp_path ${DIRECTORY}/nginx-${host}/p; fastcgi_temp_path ${DIRECTORY}/nginx-${host}/f; uwsgi_temp_path ${DIRECTORY}/nginx-${host}/u; scgi_temp_path ${DIRECTORY}/nginx-${host}/s;
  server { ${[BACKEND_PORT, PEER_BACKEND_PORT, OPAQUE_PORT].map((port) => `listen 0.0.0.0:${port} backlog=4096;`).join(" ")} location /100 { return 200 "${"x".repeat(100)}"; } location /1k { return 200 "${"x".repeat(1024)}"; }
    root ${pages}; location /64k { } location /chunked { ssi on; ssi_types *; } } }`,
  );
  start(host, ["nginx", "-c", config], { core: LOAD_CORE, ...(uid === undefined ? {} : { uid }) });
}

function startHaproxyHop(): number {
  const config = write(
    "haproxy-hop.cfg",
    `${DEFAULTS}
frontend f
  bind ${addressOf("a")}:${HOP_PORT.haproxy}${HEADERS}
  default_backend b
backend b
  server s ${addressOf("a")}:${PEER_BACKEND_PORT} pool-max-conn 1000`,
  );
  return start("a", ["haproxy", "-db", "-f", config], { core: PROXY_CORE }).pid ?? 0;
}

function startNginxHop(): number {
  mkdirSync(`${DIRECTORY}/nginx-hop`, { recursive: true });
  const config = write(
    "nginx-hop.conf",
    `worker_processes 1; master_process off; pid ${DIRECTORY}/nginx-hop/hop.pid; error_log /dev/null; daemon off; user root;
events { worker_connections 20000; }
http { access_log off; keepalive_requests 1000000000;
  upstream b { server ${addressOf("a")}:${PEER_BACKEND_PORT}; keepalive 256; keepalive_requests 1000000000; }
  server { listen ${addressOf("a")}:${HOP_PORT.nginx} backlog=4096;
    location / { proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header x-request-id $request_id;
      proxy_set_header x-forwarded-for $remote_addr; proxy_set_header traceparent 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01; } } }`,
  );
  return start("a", ["nginx", "-c", config], { core: PROXY_CORE }).pid ?? 0;
}

/** How the two ends of a pair of haproxies prove themselves. */
export const TLS_CLIENT = `ssl crt ${DIRECTORY}/client.pem ca-file ${DIRECTORY}/ca.crt verify required verifyhost inbound sni str(inbound) ssl-min-ver TLSv1.3`;
export const TLS_SERVER = `ssl crt ${DIRECTORY}/server.pem ca-file ${DIRECTORY}/ca.crt verify required ssl-min-ver TLSv1.3`;

/** Certificates of one CA, P-256 as ours. */
function makeCertificates(): void {
  const script = `cd ${DIRECTORY}
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=bench-ca -keyout ca.key -out ca.crt 2>/dev/null
for n in server client; do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$n -keyout $n.key -out $n.csr 2>/dev/null
  printf "subjectAltName=DNS:inbound\\n" > $n.ext
  openssl x509 -req -in $n.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile $n.ext -out $n.crt 2>/dev/null
  cat $n.crt $n.key > $n.pem
done`;
  execFileSync("sh", ["-ec", script]);
}

function startHaproxyPair(): number[] {
  makeCertificates();
  const outbound = write(
    "haproxy-out.cfg",
    `${DEFAULTS}
frontend f
  bind ${addressOf("a")}:${PAIR_PORT}${HEADERS}
  default_backend b
backend b
  server s ${addressOf("b")}:${TLS_PORT} ${TLS_CLIENT} pool-max-conn 1000`,
  );
  const inbound = write(
    "haproxy-in.cfg",
    `${DEFAULTS}
frontend f
  bind ${addressOf("b")}:${TLS_PORT} ${TLS_SERVER}${HEADERS}
  default_backend b
backend b
  server s ${addressOf("b")}:${PEER_BACKEND_PORT} pool-max-conn 1000`,
  );
  const pids = [
    start("b", ["haproxy", "-db", "-f", inbound], { core: PROXY_CORE }).pid,
    start("a", ["haproxy", "-db", "-f", outbound], { core: PROXY_CORE }).pid,
  ];
  return pids.map((pid) => pid ?? 0);
}

const TCP_DEFAULTS = DEFAULTS.replace("mode http", "mode tcp").replace("  http-reuse always", "");
/** Asked by connection-cases.ts how many handshakes there were. */
export const FULL_STATS = `${DIRECTORY}/haproxy-full.sock`;

/** Relays bytes, each connection by one of its own to the other host, as ours does for opaque TCP. */
function startHaproxyFull(): number[] {
  const outbound = write(
    "haproxy-full-out.cfg",
    `${TCP_DEFAULTS}
frontend full
  bind ${addressOf("a")}:${NEW_PORT.full}
  default_backend full
backend full
  server s ${addressOf("b")}:${NEW_TLS_PORT} ${TLS_CLIENT} no-ssl-reuse
frontend resumed
  bind ${addressOf("a")}:${NEW_PORT.resumed}
  default_backend resumed
backend resumed
  server s ${addressOf("b")}:${NEW_TLS_PORT} ${TLS_CLIENT}`,
  );
  const inbound = write(
    "haproxy-full-in.cfg",
    `${TCP_DEFAULTS.replace("global", `global\n  stats socket ${FULL_STATS}`)}
frontend f
  bind ${addressOf("b")}:${NEW_TLS_PORT} ${TLS_SERVER}
  default_backend b
backend b
  server s ${addressOf("b")}:${PEER_BACKEND_PORT}`,
  );
  const pids = [
    start("b", ["haproxy", "-db", "-f", inbound], { core: PROXY_CORE }).pid,
    start("a", ["haproxy", "-db", "-f", outbound], { core: PROXY_CORE }).pid,
  ];
  return pids.map((pid) => pid ?? 0);
}

function startHaproxyBulk(): number {
  const config = write(
    "haproxy-bulk.cfg",
    `${TCP_DEFAULTS}
  option splice-auto
frontend small
  bind ${addressOf("a")}:${SMALL_PORT}
  default_backend small
backend small
  server s ${addressOf("a")}:${PEER_BACKEND_PORT}
frontend f
  bind ${addressOf("a")}:${BULK_PORT}
  default_backend b
backend b
  server s ${addressOf("a")}:${PEER_IPERF_PORT}`,
  );
  return start("a", ["haproxy", "-db", "-f", config], { core: PROXY_CORE }).pid ?? 0;
}

export function startIperf(): void {
  for (const port of [IPERF_PORT, PEER_IPERF_PORT]) {
    start("a", ["iperf3", "-s", "-p", `${port}`], { core: LOAD_CORE });
  }
}

export interface Peers {
  readonly haproxyHop: number;
  readonly nginxHop: number;
  readonly haproxyPair: readonly number[];
  readonly haproxyBulk: number;
  readonly haproxyFull: readonly number[];
}

export async function startPeers(): Promise<Peers> {
  const peers = {
    haproxyHop: startHaproxyHop(),
    nginxHop: startNginxHop(),
    haproxyPair: startHaproxyPair(),
    haproxyBulk: startHaproxyBulk(),
    haproxyFull: startHaproxyFull(),
  };
  for (const port of [HOP_PORT.haproxy, HOP_PORT.nginx, PAIR_PORT]) {
    await until(`port ${port}`, () => answers("a", `http://${addressOf("a")}:${port}/100`));
  }
  return peers;
}
