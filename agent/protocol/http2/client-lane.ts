// A lane on which we ask: each request written to it becomes a stream, its response is shown as HTTP/1.1.
import type { CloseReason, StreamHandler } from "../../base/net.ts";
import { readRequestHead } from "../http1/read-request.ts";
import { REFUSED_TARGET } from "../http1/refusal.ts";
import type { Http2Connection } from "./connection.ts";
import type { FieldList } from "./field-list.ts";
import { type Mistake, readResponseFields } from "./field-rules.ts";
import { CODE } from "./frame.ts";
import { blockBytesMax, writeRequestBlock } from "./from-http1.ts";
import { Lane } from "./lane.ts";
import { framingOf, writeResponse } from "./to-http1.ts";

export class ClientLane extends Lane {
  #isHead = false;
  #isOpening = true;

  constructor(wire: Http2Connection, handler: StreamHandler) {
    super(wire, handler, false);
  }

  protected override get isOpening(): boolean {
    return this.#isOpening;
  }

  opened(): void {
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
    if (this.wire.isRetiring) this.cut(CODE.cancel, undefined);
    return this.wire.canSend && this.wire.mayOpen;
  }

  protected override takeHead(bytes: Uint8Array, start: number, end: number): number {
    const { wire } = this;
    const head = wire.deps.requestHead;
    const headEnd = readRequestHead(head, bytes, start, end, this.wire.deps.headLimits);
    if (headEnd < 0) return headEnd;
    if (head.targetForm === "absolute") return REFUSED_TARGET;
    this.begin(wire.open(this));
    this.#isHead = head.isHead;
    this.body.begin(head);
    this.sending = "body";
    const at = wire.beginBlock(blockBytesMax(head));
    wire.out.endBlock(this.streamId, writeRequestBlock(head, wire.out.bytes, at), this.body.isDone);
    if (this.body.isDone) this.sent();
    return headEnd;
  }

  override receiveFields(fields: FieldList, isLast: boolean): Mistake | undefined {
    if (this.receiving !== "head") return this.receiveTrailers(fields, isLast);
    const { facts } = this.wire.deps;
    const malformed = readResponseFields(fields, facts);
    if (malformed !== undefined) return malformed;
    const isInterim = facts.status < 200;
    if (isInterim && isLast) return "pseudo_field";
    const isBodiless = isInterim || facts.status === 204 || facts.status === 304 || this.#isHead;
    if (isLast && facts.contentLength > 0 && !isBodiless) return "content_length";
    const framing = isLast || isBodiless ? "none" : framingOf(facts);
    if (!isInterim) this.beginContent(framing, facts.contentLength);
    if (isLast) this.receiving = "done";
    const { bytes, start } = this.wire.roomFor(fields);
    const isEmpty = isLast && !isBodiless;
    const end = writeResponse(fields, facts, framing, isEmpty, bytes, start);
    this.settle(); // before it is shown: see receiveData()
    this.shown.show(bytes, start, end, 0);
    return undefined;
  }

  protected override settle(): void {
    if (this.sending === "done" && this.receiving === "done" && this.streamId !== 0) this.finish();
  }
}
