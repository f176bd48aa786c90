// A lane on which we ask: each request written to it becomes a stream, its response is shown as HTTP/1.1.
import { type CloseReason, type StreamHandler, UNPROCESSED } from "../../base/net.ts";
import type { RequestHead } from "../http1/head.ts";
import { InterimAllowance } from "../http1/interim.ts";
import { readRequestHead } from "../http1/read-request.ts";
import { REFUSED_TARGET } from "../http1/refusal.ts";
import type { ClientConnection } from "./client-connection.ts";
import { copy } from "./copy.ts";
import type { FieldList } from "./field-list.ts";
import { type Mistake, readResponseFields } from "./field-rules.ts";
import { CODE } from "./frame.ts";
import { blockBytesMax, writeRequestBlock } from "./from-http1.ts";
import type { KnownHead } from "./known-heads.ts";
import { Lane, NOT_YET, UNTIL_ITS_END } from "./lane.ts";
import { type Framing, framingOf, writeResponse, writeSwitch } from "./to-http1.ts";

/** What an owner is told of a request for a WebSocket that cannot be asked for in HTTP/2: the app takes none, or it is none. */
const NO_TUNNELS = "no_tunnels";
const NO_WEBSOCKET = "no_websocket";
/** RFC 6455 4.1: 16 bytes. */
const KEY = /^[A-Za-z0-9+/]{22}==$/;

export class ClientLane extends Lane {
  readonly #connection: ClientConnection;
  readonly #interim = new InterimAllowance();
  #isHead = false;
  #isOpening = true;
  /** Of who asks for the tunnel. */
  #key = "";

  constructor(connection: ClientConnection, handler: StreamHandler) {
    super(connection, handler, false);
    this.#connection = connection;
  }

  protected override get isOpening(): boolean {
    return this.#isOpening;
  }

  override opened(): void {
    if (!this.#isOpening) return;
    this.#isOpening = false;
    this.isAlive = true;
    this.handler.onOpen(this);
  }

  override close(): void {
    this.#isOpening = false;
    super.close();
  }

  override died(reason: CloseReason): void {
    super.died(reason);
    this.#isOpening = false;
  }

  protected override get maySendHead(): boolean {
    if (this.wire.isRetiring) this.cut(CODE.cancel, undefined, UNPROCESSED);
    return this.wire.canSend && this.wire.mayOpen;
  }

  protected override takeHead(bytes: Uint8Array, start: number, end: number): number {
    const { wire } = this;
    const head = wire.deps.requestHead;
    const headEnd = readRequestHead(head, bytes, start, end, this.wire.deps.headLimits);
    if (headEnd < 0) return headEnd;
    if (head.targetForm === "absolute") return REFUSED_TARGET;
    // Another protocol is not asked for: its app may ignore that (RFC 9110 7.8), and its client sees that it did.
    const isTunnel = head.isUpgrade && isWebSocket(head);
    if (isTunnel && this.#connection.offersTunnels === undefined) return NOT_YET;
    if (isTunnel && !this.#mayAsk(head)) return headEnd;
    this.begin(wire.open(this));
    this.#isHead = head.isHead;
    this.#interim.begin();
    this.tunnel = isTunnel ? "asked" : "none";
    this.body.begin(isTunnel ? UNTIL_ITS_END : head);
    this.sending = "body";
    const at = wire.beginBlock(blockBytesMax(head));
    const blockEnd = writeRequestBlock(head, isTunnel, wire.out.bytes, at);
    wire.out.endBlock(this.streamId, blockEnd, this.body.isDone);
    if (this.body.isDone) this.sent();
    return headEnd;
  }

  override receiveFields(fields: FieldList, isLast: boolean): Mistake | undefined {
    if (this.receiving !== "head") return this.receiveTrailers(fields, isLast);
    const { facts } = this.wire.deps;
    const malformed = readResponseFields(fields, facts);
    if (malformed !== undefined) return malformed;
    if (facts.status < 200) return isLast ? "pseudo_field" : this.#receiveInterim(fields);
    if (this.tunnel === "asked" && this.#isTunnelOpen(facts.status))
      return this.#openTunnel(fields, isLast);
    const isBodiless = facts.status === 204 || facts.status === 304 || this.#isHead;
    if (isLast && facts.contentLength > 0 && !isBodiless) return "content_length";
    const framing = isLast || isBodiless ? "none" : framingOf(facts);
    this.beginContent(framing, facts.contentLength);
    if (isLast) this.receiving = "done";
    const { bytes, start } = this.wire.roomFor(fields);
    const isEmpty = isLast && !isBodiless;
    const end = writeResponse(fields, facts, framing, isEmpty, bytes, start);
    if (this.tunnel === "none") this.#keepHead(bytes, start, end, framing, isLast);
    this.settle(); // before it is shown: see receiveData()
    this.shown.show(bytes, start, end, 0);
    return undefined;
  }

  #keepHead(
    bytes: Uint8Array,
    start: number,
    end: number,
    framing: Framing,
    isLast: boolean,
  ): void {
    const known = this.#connection.placeForHead(bytes, start, end, isLast);
    if (known === undefined) return;
    known.framing = framing;
    known.contentLength = this.wire.deps.facts.contentLength;
    known.isHead = this.#isHead;
  }

  /** It is what comes next, and means what it meant when it was kept. */
  awaits(known: KnownHead): boolean {
    return this.receiving === "head" && this.tunnel === "none" && known.isHead === this.#isHead;
  }

  /** As receiveFields(), of an answer's head that came so before. */
  receiveKnown(known: KnownHead): void {
    this.beginContent(known.framing, known.contentLength);
    if (known.isLast) this.receiving = "done";
    const { bytes, start } = this.wire.deps.stage;
    copy(known.text, 0, known.textLength, bytes, start);
    this.settle();
    this.shown.show(bytes, start, start + known.textLength, 0);
  }

  #receiveInterim(fields: FieldList): Mistake | undefined {
    const { bytes, start } = this.wire.roomFor(fields);
    const end = writeResponse(fields, this.wire.deps.facts, "none", false, bytes, start);
    if (!this.#interim.spend(end - start)) return "interim_flood";
    this.shown.show(bytes, start, end, 0);
    return undefined;
  }

  #mayAsk(head: RequestHead): boolean {
    const key = head.joined("sec-websocket-key") ?? "";
    const isOne = head.method === "GET" && head.bodyKind === "none" && KEY.test(key);
    this.#key = key;
    if (isOne && this.#connection.offersTunnels === true) return true;
    const word = isOne ? NO_TUNNELS : NO_WEBSOCKET;
    this.cut(CODE.cancel, word, word);
    return false;
  }

  #isTunnelOpen(status: number): boolean {
    if (status >= 300) this.#declined();
    return status >= 200 && status < 300;
  }

  #openTunnel(fields: FieldList, isLast: boolean): undefined {
    const { facts, webSocketKeys } = this.wire.deps;
    this.tunnel = "open";
    this.beginContent("tunnel", 0);
    if (isLast) this.receiving = "done";
    const { bytes, start } = this.wire.roomFor(fields);
    const accept = webSocketKeys.acceptOf(this.#key);
    this.shown.show(bytes, start, writeSwitch(fields, facts, accept, bytes, start), 0);
    if (isLast) this.shown.end();
  }

  /** The app answers as it would any request, and nothing will be said in the tunnel. */
  #declined(): void {
    this.tunnel = "none";
    this.wire.out.end(this.streamId);
    this.sending = "done";
  }

  protected override settle(): void {
    if (this.sending === "done" && this.receiving === "done" && this.streamId !== 0) this.finish();
  }
}

const isWebSocket = (head: RequestHead): boolean =>
  head.value(head.upgradeField).toLowerCase() === "websocket";
