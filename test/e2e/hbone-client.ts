// HBONE as Istio's ztunnel speaks it, by peers that nobody here wrote: node:http2 over node:tls with a certificate of the mesh's CA, TLS 1.3,
// ALPN `h2` and no SNI. `hbone-client.mjs JOB`: one CONNECT; prints what came of it.
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:tls";

export interface HboneJob {
  readonly host: string;
  readonly authority: string;
  readonly certificates: readonly string[];
  readonly keyPem: string;
  /** Absent: none is sent. */
  readonly servername?: string;
  /** Said in the tunnel before its direction ends, `times` over. */
  readonly send: string;
  readonly times?: number;
}

export interface HboneOutcome {
  /** SPIFFE ID of who answered. */
  readonly peer: string;
  readonly status: number;
  readonly bytes: number;
  /** The last of what came. */
  readonly tail: string;
  readonly error: string;
}

const job = JSON.parse(process.argv[2] ?? "{}") as HboneJob;
const outcome = { peer: "", status: 0, bytes: 0, tail: "", error: "" };
const done = (error = ""): never => {
  console.log(JSON.stringify({ ...outcome, error }));
  process.exit(0);
};
const socket = connect({
  host: job.host,
  port: 15_008,
  key: job.keyPem,
  cert: job.certificates.join("\n"),
  ALPNProtocols: ["h2"],
  minVersion: "TLSv1.3",
  rejectUnauthorized: false, // SPIFFE certificates have no host names; the ID is compared by who reads the outcome
  ...(job.servername === undefined ? {} : { servername: job.servername }),
});
socket.on("secureConnect", () => {
  outcome.peer = (socket.getPeerCertificate().subjectaltname ?? "").replace("URI:", "");
});
const session = connectHttp2(`https://${job.host}:15008`, { createConnection: () => socket });
session.on("error", (error: Error & { code?: string }) => done(error.code ?? error.message));
const fields = { baggage: "k8s.namespace.name=shop", forwarded: "for=192.0.2.1" };
const connectTo = { ":method": "CONNECT", ":authority": job.authority, ...fields };
const stream = session.request(connectTo, { endStream: false });
stream.on("response", (headers) => {
  outcome.status = Number(headers[":status"]);
  if (outcome.status !== 200) return;
  for (let i = 0; i < (job.times ?? 1); i++) stream.write(job.send);
  stream.end();
});
stream.on("data", (piece: Buffer) => {
  outcome.bytes += piece.length;
  outcome.tail = (outcome.tail + piece.toString("latin1")).slice(-200);
});
stream.on("error", (error: Error & { code?: string }) => done(error.code ?? error.message));
stream.on("close", () => done());
