// What failed on the way, and everything that is said about it: the status a client gets, Envoy's response flag and details for
// log and metrics, and whose fault it was. This table alone decides; the data path only names the failure.
import { type CloseReason, UNPROCESSED } from "../base/net.ts";
import { refusalOf } from "../protocol/http1/refusal.ts";

export interface Failure {
  /** 0: nobody is left to answer. */
  readonly status: number;
  /** Envoy's response flag (RESPONSE_FLAGS of its access log); "-": none. */
  readonly flag: string;
  /** Envoy's response code details. */
  readonly details: string;
  /** The side that is blamed; a retry is only ever fair for `upstream`. */
  readonly side: "downstream" | "upstream" | "policy" | "agent";
  /** What the client reads. */
  readonly body: string;
}

const BEFORE = "upstream connect error or disconnect/reset before headers. reset reason: ";

export const FAILURES = {
  no_route: {
    status: 404,
    flag: "NR",
    details: "route_not_found",
    side: "policy",
    body: "no route matches this request",
  },
  no_cluster: {
    status: 503,
    flag: "NC",
    details: "cluster_not_found",
    side: "policy",
    body: "the route names a service or subset that does not exist",
  },
  no_healthy_upstream: {
    status: 503,
    flag: "UH",
    details: "no_healthy_upstream",
    side: "upstream",
    body: "no healthy upstream",
  },
  connect_failure: {
    status: 503,
    flag: "UF",
    details: "upstream_reset_before_response_started{remote_connection_failure}",
    side: "upstream",
    body: `${BEFORE}remote connection failure`,
  },
  connect_timeout: {
    status: 503,
    flag: "UF",
    details: "upstream_reset_before_response_started{connection_timeout}",
    side: "upstream",
    body: `${BEFORE}connection timeout`,
  },
  overflow: {
    status: 503,
    flag: "UO",
    details: "upstream_reset_before_response_started{overflow}",
    side: "policy",
    body: `${BEFORE}overflow`,
  },
  upstream_reset: {
    status: 503,
    flag: "UC",
    details: "upstream_reset_before_response_started{connection_termination}",
    side: "upstream",
    body: `${BEFORE}connection termination`,
  },
  upstream_refused: {
    status: 503,
    flag: "UR",
    details: "upstream_reset_before_response_started{remote_refused_stream_reset}",
    side: "upstream",
    body: `${BEFORE}remote refused stream reset`,
  },
  upstream_cut: {
    status: 0,
    flag: "UC",
    details: "upstream_reset_after_response_started{connection_termination}",
    side: "upstream",
    body: "",
  },
  upstream_nonsense: {
    status: 502,
    flag: "UPE",
    details: "upstream_reset_before_response_started{protocol_error}",
    side: "upstream",
    body: `${BEFORE}protocol error`,
  },
  request_timeout: {
    status: 504,
    flag: "UT",
    details: "response_timeout",
    side: "upstream",
    body: "upstream request timeout",
  },
  per_try_timeout: {
    status: 504,
    flag: "UT",
    details: "upstream_per_try_timeout",
    side: "upstream",
    body: "upstream request timeout",
  },
  stream_idle: {
    status: 408,
    flag: "SI",
    details: "stream_idle_timeout",
    side: "upstream",
    body: "stream timeout",
  },
  header_timeout: {
    status: 408,
    flag: "DPE",
    details: "request_header_timeout",
    side: "downstream",
    body: "request header timeout",
  },
  body_timeout: {
    status: 408,
    flag: "DPE",
    details: "request_body_timeout",
    side: "downstream",
    body: "request body timeout",
  },
  downstream_gone: {
    status: 0,
    flag: "DC",
    details: "downstream_remote_disconnect",
    side: "downstream",
    body: "",
  },
  downstream_nonsense: {
    status: 400,
    flag: "DPE",
    details: "http1.codec_error",
    side: "downstream",
    body: "",
  },
  head_too_long: {
    status: 431,
    flag: "DPE",
    details: "request_headers_too_large",
    side: "downstream",
    body: "request head is too long",
  },
  fault_abort: {
    status: 0,
    flag: "FI",
    details: "fault_filter_abort",
    side: "policy",
    body: "fault filter abort",
  },
  denied: {
    status: 403,
    flag: "-",
    details: "rbac_access_denied",
    side: "policy",
    body: "RBAC: access denied",
  },
  rate_limited: {
    status: 429,
    flag: "RL",
    details: "local_rate_limited",
    side: "policy",
    body: "local_rate_limited",
  },
  upgrade_unsupported: {
    status: 501,
    flag: "UPE",
    details: "upstream_offers_no_extended_connect",
    side: "upstream",
    body: "the app speaks HTTP/2 and takes no WebSockets over it (RFC 8441: SETTINGS_ENABLE_CONNECT_PROTOCOL)",
  },
  websocket_invalid: {
    status: 400,
    flag: "DPE",
    details: "http1.codec_error",
    side: "downstream",
    body: "a WebSocket is asked for by GET, without content, with one Sec-WebSocket-Key of 16 bytes",
  },
  not_mesh: {
    status: 502,
    flag: "NR",
    details: "direct_response",
    side: "policy",
    body: "",
  },
} as const satisfies Record<string, Failure>;

/** An upstream of HTTP/2 cannot be asked for the tunnel that was wanted of it: by the words of protocol/http2/client-lane.ts. */
export function unaskable(closed: CloseReason): Failure | undefined {
  if (closed.is !== "failed") return undefined;
  if (closed.code === "no_tunnels") return FAILURES.upgrade_unsupported;
  return closed.code === "no_websocket" ? FAILURES.websocket_invalid : undefined;
}

/** The upstream has not begun with the request. */
export const isUnprocessed = (closed: CloseReason): boolean =>
  closed.is === "failed" && closed.code === UNPROCESSED;

/** A client's bytes were refused with that code (protocol/http1/refusal.ts). */
export function nonsense(code: number): Failure {
  const { status, reason } = refusalOf(code);
  return { ...FAILURES.downstream_nonsense, status, body: `${reason}\n` };
}

/** Flag of a failure that retries could not mend, as Envoy writes both. */
export const withRetriesSpent = (flag: string): string => `${flag},URX`;
