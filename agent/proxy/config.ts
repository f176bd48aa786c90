// Every limit and timeout of the data path, with its default. docs/operating.md tells the operator what turning each one costs.
import { HEAD_LIMITS } from "../protocol/http1/head.ts";

export interface DataPlaneConfig {
  /** How long a client may take for a whole request head, counted from its first byte. Default 10,000 (Envoy: 0, off). */
  readonly headerTimeoutMs: number;
  /** How long a client may go without sending more of a body that the app waits for: a byte of a chunked one, 1 KiB (or the rest) of one
   *  of a given length. Default 60,000; 0: as long as it likes. Lower breaks slow uploads; higher lets a slow sender hold an app's worker. */
  readonly bodyTimeoutMs: number;
  /** Fields of a request's or response's head. Default 100, as Envoy. Higher costs a thread 34 bytes a field.
   *  What comes from a peer's agent may have 64 more, and 8 KiB: what agents and routes add. */
  readonly headersMax: number;
  /** How long a downstream HTTP connection may stay without a request. Default 3,600,000, as Envoy. */
  readonly idleTimeoutMs: number;
  /** How long a request may stay without a byte in either direction. Default 300,000, as Envoy's stream_idle_timeout. */
  readonly streamIdleTimeoutMs: number;
  /** How long an opaque connection or a tunnel may stay without a byte. Default 3,600,000, as Envoy. */
  readonly tcpIdleTimeoutMs: number;
  /** How long a client may stay silent before its connection is carried as opaque TCP. Default 1,000.
   *  Lower breaks slow clients; higher delays server-first protocols (MySQL, SMTP) by this much. */
  readonly detectTimeoutMs: number;
  /** How long a client may take for its ClientHello where a route or policy hangs on the name in it. Default 10,000. Elsewhere
   *  detectTimeoutMs is all that is waited. */
  readonly helloTimeoutMs: number;
  /** How long a dial to a local app may take. Default 5,000. To other hosts the DestinationRule decides. */
  readonly appConnectTimeoutMs: number;
  /** Idle connections to a local app are closed after this. Default 4,000: less than the 5 s after which Node closes them itself, so
   *  that no request meets a connection that is just being closed. */
  readonly appIdleTimeoutMs: number;
  /** Downstream connections of the agent, all threads together. Default 65,536. What comes beyond is reset and counted. */
  readonly connectionsMax: number;
  /** How long a connection that we close with bytes still coming in is listened to, so that its last answer is not lost to a
   *  reset. Default 1,000, as Envoy's delayed_close_timeout. */
  readonly lingerMs: number;
  /** How much of a request is kept so that it can be tried again. Default 65,536; a longer one is tried once. */
  readonly replayBytesMax: number;
  /** Requests on one downstream connection before it is closed in order; 0: no bound. Default 0, as Envoy. */
  readonly requestsPerConnectionMax: number;
  /** Once draining, how long open requests may take until their connections are cut. Default 45,000. */
  readonly drainTimeoutMs: number;
  /** Slot of base/slots.ts that counts downstream connections of all threads. */
  readonly connectionsSlot: number;
  /** The redirect's own ports, beside the workloads' outbound ports: a connection that was going there is a loop. */
  readonly listenerPorts: readonly number[];
  /** Fill buffers that are given back, so that a stale reference shows. Default false; tests set it. */
  readonly poisonsBuffers: boolean;
}

export const DATA_PLANE_DEFAULTS: DataPlaneConfig = {
  headerTimeoutMs: 10_000,
  bodyTimeoutMs: 60_000,
  headersMax: HEAD_LIMITS.headersMax,
  idleTimeoutMs: 3_600_000,
  streamIdleTimeoutMs: 300_000,
  tcpIdleTimeoutMs: 3_600_000,
  detectTimeoutMs: 1_000,
  helloTimeoutMs: 10_000,
  appConnectTimeoutMs: 5_000,
  appIdleTimeoutMs: 4_000,
  connectionsMax: 65_536,
  lingerMs: 1_000,
  replayBytesMax: 65_536,
  requestsPerConnectionMax: 0,
  drainTimeoutMs: 45_000,
  connectionsSlot: 0,
  listenerPorts: [15001, 15006],
  poisonsBuffers: false,
};
