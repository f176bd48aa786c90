// The answer to the request at hand, as its client is to see it: persistence, HTTP/1.0, and what the client has not taken yet.
import type { Stream } from "../base/net.ts";
import { answerBytes } from "../protocol/http1/answer.ts";
import type { RequestHead, ResponseHead } from "../protocol/http1/head.ts";
import { Dechunker } from "./dechunker.ts";
import type { Exchange } from "./exchange.ts";
import { Outbox } from "./outbox.ts";
import type { ThreadContext } from "./thread-context.ts";
import type { FieldPlan, LocalAnswer } from "./traffic-plan.ts";

export class ResponseWriter {
  readonly #exchange: Exchange;
  readonly #context: ThreadContext;
  readonly #outbox: Outbox;
  /** The connection is for another request after this one. */
  keepsAlive = true;
  /** All of it was given to us, though perhaps not all is sent. */
  isComplete = false;
  #isHead = false;
  /** HTTP/1.0: no interim responses, no chunks, one request. */
  speaksOld = false;
  #dechunker: Dechunker | undefined;

  constructor(exchange: Exchange, context: ThreadContext) {
    this.#exchange = exchange;
    this.#context = context;
    this.#outbox = new Outbox(context.buffers);
  }

  get unsentBytes(): number {
    return this.#outbox.unsentBytes;
  }

  /** To a request whose head cannot be read: nothing is known of the client. */
  reset(): void {
    this.keepsAlive = true;
    this.isComplete = false;
    this.#isHead = false;
    this.speaksOld = false;
  }

  begin(head: RequestHead): void {
    this.#isHead = head.isHead;
    this.speaksOld = head.minorVersion === 0;
    this.keepsAlive = head.keepAlive && !this.speaksOld;
  }

  /** An answer of our own. Returns its length in bytes. */
  sendAnswer({ status, body, fields }: LocalAnswer): number {
    const { connection } = this.#exchange;
    if (connection.closesAfterThis) this.keepsAlive = false;
    const bytes = answerBytes({
      status,
      body,
      fields,
      isLast: !this.keepsAlive,
      isHead: this.#isHead,
    });
    connection.sendResponse(bytes, 0, bytes.length);
    return bytes.length;
  }

  /** The head as the client is to see it, with what came of the body. Returns how many bytes that were; -1: it cannot be placed. */
  sendHead(
    head: ResponseHead,
    plan: FieldPlan | undefined,
    bytes: Uint8Array,
    headEnd: number,
    stop: number,
    limit: number,
  ): number {
    const { connection } = this.#exchange;
    if (head.bodyKind === "until_close" || connection.closesAfterThis) this.keepsAlive = false;
    const { sender } = this.#context;
    const strips = this.speaksOld && head.isChunked;
    if (strips) head.drop("transfer-encoding");
    const until = strips ? headEnd : stop;
    const room = until === stop ? limit : 0; // chunks that follow must not be overwritten
    const cut = sender.placeResponse(head, plan, !this.keepsAlive, bytes, headEnd, until, room);
    if (cut < 0) return -1;
    const sent = sender.end - sender.start + stop - cut;
    connection.sendResponse(sender.bytes, sender.start, sender.end);
    if (strips) this.#dechunker = new Dechunker();
    if (cut < stop) this.sendBody(bytes, cut, stop);
    return sent;
  }

  /** A 1xx, without what was for the hop it came over. False: it cannot be placed. */
  sendInterim(head: ResponseHead, bytes: Uint8Array, headEnd: number): boolean {
    if (this.speaksOld) return true;
    const { sender } = this.#context;
    if (sender.placeResponse(head, undefined, false, bytes, headEnd, headEnd, 0) < 0) return false;
    this.#exchange.connection.sendResponse(sender.bytes, sender.start, sender.end);
    return true;
  }

  sendBody(bytes: Uint8Array, start: number, end: number): void {
    const { connection } = this.#exchange;
    if (this.#dechunker === undefined) connection.sendResponse(bytes, start, end);
    else this.#dechunker.scan(bytes, start, end, (b, s, e) => connection.sendResponse(b, s, e));
  }

  /** For the connection, which has the stream. False: the client does not keep up. */
  send(stream: Stream, bytes: Uint8Array, start: number, end: number): boolean {
    return this.#outbox.send(stream, bytes, start, end);
  }

  /** True: nothing is left unsent. */
  flush(stream: Stream): boolean {
    return this.#outbox.flush(stream);
  }

  /** The exchange is given back. */
  clear(): void {
    this.#outbox.clear();
    this.#dechunker = undefined;
  }
}
