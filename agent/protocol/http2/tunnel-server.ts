// The accepting side of an HTTP/2 connection on which tunnels alone are asked for, by CONNECT (RFC 9113 8.5): what HBONE is inside of TLS.
import { readLatin1 } from "../../base/bytes.ts";
import type { Stream } from "../../base/net.ts";
import type { FieldList } from "./field-list.ts";
import { readRequestFields } from "./field-rules.ts";
import { CODE, SETTING } from "./frame.ts";
import { ServerConnection, type ServerEvents, STREAMS_MAX } from "./server-connection.ts";
import type { Http2Deps } from "./shared-by-thread.ts";
import { TunnelLane } from "./tunnel-lane.ts";
import { TUNNEL_WINDOWS } from "./windows.ts";

/** Fields of one request (`baggage`, `forwarded`, `traceparent`: nothing that we believe), as RFC 9113 6.5.2 counts them. */
const FIELD_BYTES_MAX = 16_384;
const FIELD_OVERHEAD = 32;
const SETTINGS = [
  [SETTING.maxConcurrentStreams, STREAMS_MAX],
  [SETTING.initialWindowSize, TUNNEL_WINDOWS.stream],
  [SETTING.maxHeaderListSize, FIELD_BYTES_MAX],
] as const;
const BAD_REQUEST = 400;
const FIELDS_TOO_LONG = 431;

const IGNORE = { onOpen() {}, onData() {}, onWritable() {}, onEnd() {}, onClose() {} };

export class TunnelServer extends ServerConnection {
  readonly #events: ServerEvents;
  readonly #onTunnel: (lane: TunnelLane) => void;

  /** `onTunnel` opens the lane, or closes it, then or later. */
  constructor(
    deps: Http2Deps,
    events: ServerEvents,
    stream: Stream,
    onTunnel: (lane: TunnelLane) => void,
  ) {
    super(deps, events, stream, SETTINGS, TUNNEL_WINDOWS);
    this.#events = events;
    this.#onTunnel = onTunnel;
  }

  protected override serveStream(id: number, isLast: boolean): void {
    const { fields, facts } = this.deps;
    const malformed = readRequestFields(fields, facts);
    if (malformed !== undefined && malformed !== "protocol_unsupported")
      this.refuseStream(id, CODE.protocolError, malformed);
    else if (sizeOf(fields) > FIELD_BYTES_MAX) this.answer(id, FIELDS_TOO_LONG, "fields_too_long");
    // An extended CONNECT too, which was not offered.
    else if (!facts.isConnect) this.answer(id, BAD_REQUEST, "no_connect");
    else if (facts.contentLength >= 0) this.refuseStream(id, CODE.protocolError, "content_length");
    else this.#ask(id, isLast, textOf(fields, facts.authority));
  }

  #ask(id: number, isLast: boolean, authority: string): void {
    const lane = new TunnelLane(this, IGNORE, authority);
    if (!this.#events.onLane(lane)) {
      this.refuseStream(id, CODE.refusedStream, "connections_max");
      return;
    }
    this.adopt(id, lane);
    lane.ask(id, isLast);
    this.#onTunnel(lane);
  }
}

const sizeOf = (fields: FieldList): number => fields.end + fields.count * FIELD_OVERHEAD;

const textOf = (fields: FieldList, index: number): string =>
  readLatin1(fields.bytes, fields.valueStart(index), fields.valueEnd(index));
