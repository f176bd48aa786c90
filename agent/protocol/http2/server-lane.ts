// A lane on which a client's requests come.
import type { StreamHandler } from "../../base/net.ts";
import type { ResponseHead } from "../http1/head.ts";
import { readResponseHead } from "../http1/read-response.ts";
import { REFUSED_UPGRADE } from "../http1/refusal.ts";
import { copy } from "./copy.ts";
import type { FieldList } from "./field-list.ts";
import { type Mistake, readRequestFields } from "./field-rules.ts";
import { CODE } from "./frame.ts";
import { blockBytesMax, writeResponseBlock, writeTunnelBlock } from "./from-http1.ts";
import type { KnownHead } from "./known-heads.ts";
import { Lane, UNTIL_ITS_END } from "./lane.ts";
import type { ServerConnection } from "./server-connection.ts";
import { type Framing, framingOf, writeRequest } from "./to-http1.ts";

export class ServerLane extends Lane {
  readonly speaks = "HTTP/2";
  readonly #connection: ServerConnection;
  #isHead = false;
  /** The request was not heard to its end: its owner ends the lane. */
  #isSpoiled = false;
  /** What the 101 must say for the stream at hand to become a tunnel: its client cannot look itself. */
  awaitsAccept: string | undefined;

  constructor(connection: ServerConnection, handler: StreamHandler) {
    super(connection, handler, true);
    this.#connection = connection;
  }

  override get isReusable(): boolean {
    return super.isReusable && !this.#isSpoiled;
  }

  /** A request of the peer's; undefined: its head is shown. Otherwise it is malformed. */
  open(id: number, fields: FieldList, isLast: boolean): Mistake | undefined {
    const { facts } = this.wire.deps;
    const malformed = readRequestFields(fields, facts);
    if (malformed !== undefined) return malformed;
    if (isLast && facts.contentLength > 0) return "content_length";
    this.begin(id);
    this.#isHead = facts.isHead;
    const key = this.#askTunnel(facts.protocol >= 0);
    const framing = key !== undefined ? "tunnel" : isLast ? "none" : framingOf(facts);
    this.beginContent(framing, facts.contentLength);
    if (isLast) this.receiving = "done";
    const { bytes, start } = this.wire.roomFor(fields);
    if (isLast && key !== undefined) this.shown.end();
    const end = writeRequest(fields, facts, framing, key, bytes, start);
    if (key === undefined) this.#keepHead(bytes, start, end, framing, facts.contentLength, isLast);
    this.shown.show(bytes, start, end, 0);
    return undefined;
  }

  #keepHead(
    bytes: Uint8Array,
    start: number,
    end: number,
    framing: Framing,
    contentLength: number,
    isLast: boolean,
  ): void {
    const known = this.#connection.placeForHead(bytes, start, end, isLast);
    if (known === undefined) return;
    known.framing = framing;
    known.contentLength = contentLength;
    known.isHead = this.#isHead;
  }

  /** As open(), for a head that was opened so before. */
  openKnown(id: number, known: KnownHead): undefined {
    this.begin(id);
    this.#isHead = known.isHead;
    this.tunnel = "none";
    this.awaitsAccept = undefined;
    this.beginContent(known.framing, known.contentLength);
    if (known.isLast) this.receiving = "done";
    const { bytes, start } = this.wire.deps.stage;
    copy(known.text, 0, known.textLength, bytes, start);
    this.shown.show(bytes, start, start + known.textLength, 0);
  }

  /** The key that is sent in its client's name. */
  #askTunnel(isAsked: boolean): string | undefined {
    this.tunnel = isAsked ? "asked" : "none";
    const keys = this.wire.deps.webSocketKeys;
    const key = isAsked ? keys.make() : undefined;
    this.awaitsAccept = key === undefined ? undefined : keys.acceptOf(key);
    return key;
  }

  override receiveFields(fields: FieldList, isLast: boolean): Mistake | undefined {
    return this.receiveTrailers(fields, isLast);
  }

  protected override takeHead(bytes: Uint8Array, start: number, end: number): number {
    const { saidHeads } = this.wire.deps;
    const said =
      this.tunnel === "none" ? saidHeads.find(bytes, start, end, this.#isHead) : undefined;
    if (said === undefined) return this.#takeNew(bytes, start, end);
    this.body.begin(said);
    this.sending = "body";
    const at = this.wire.beginBlock(said.blockLength);
    const { out } = this.wire;
    copy(said.block, 0, said.blockLength, out.bytes, at);
    this.#endHead(at + said.blockLength);
    return start + said.textLength;
  }

  #endHead(blockEnd: number): void {
    const isLast = this.body.isDone;
    this.wire.out.endBlock(this.streamId, blockEnd, isLast);
    if (isLast) this.sent();
  }

  #takeNew(bytes: Uint8Array, start: number, end: number): number {
    const head = this.wire.deps.responseHead;
    const headEnd = readResponseHead(
      head,
      bytes,
      start,
      end,
      this.wire.deps.headLimits,
      this.#isHead,
      false,
    );
    if (headEnd < 0) return headEnd;
    if (head.status === 101) {
      if (this.tunnel !== "asked") return REFUSED_UPGRADE;
      this.#openTunnel(head);
      return headEnd;
    }
    // To its client that would be an open tunnel, RFC 8441 5.
    if (this.tunnel === "asked" && head.status >= 200 && head.status < 300) return REFUSED_UPGRADE;
    const { out } = this.wire;
    const at = this.wire.beginBlock(blockBytesMax(head));
    const blockEnd = writeResponseBlock(head, out.bytes, at);
    if (head.isInterim) {
      out.endBlock(this.streamId, blockEnd, false);
      return headEnd;
    }
    this.wire.deps.saidHeads.keep(head, this.#isHead, out.bytes, at, blockEnd);
    this.body.begin(head);
    this.sending = "body";
    this.#endHead(blockEnd);
    return headEnd;
  }

  #openTunnel(head: ResponseHead): void {
    this.tunnel = "open";
    this.body.begin(UNTIL_ITS_END);
    this.sending = "body";
    const at = this.wire.beginBlock(blockBytesMax(head));
    const { out } = this.wire;
    out.endBlock(this.streamId, writeTunnelBlock(head, out.bytes, at), false);
    this.shown.stands();
  }

  protected override settle(): void {
    if (this.sending !== "done" || this.streamId === 0) return;
    if (this.receiving !== "done") {
      if (this.tunnel === "open") return;
      this.#isSpoiled = this.tunnel === "none";
      this.wire.resetStream(this.streamId, CODE.noError);
    }
    this.finish();
  }
}
