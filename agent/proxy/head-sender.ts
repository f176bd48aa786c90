// Puts a head that was read, edited for the next hop, and what came with its body into as few pieces as can be: in place when
// nothing follows the head, otherwise in the thread's scratch, body behind it. One per thread; what it placed is valid within the event.
import { bytesOf } from "../base/bytes.ts";
import type { Network } from "../base/net.ts";
import type { TraceFields } from "../observe/trace.ts";
import { editInPlace, editInto, rewriteInto } from "../protocol/http1/edit.ts";
import type { RequestHead, ResponseHead } from "../protocol/http1/head.ts";
import { FieldTail } from "./field-tail.ts";
import { rewriteOf } from "./rewrite.ts";
import type { FieldPlan, ForwardPlan } from "./traffic-plan.ts";

const CLOSE = bytesOf("connection: close\r\n");

export class HeadSender {
  /** What is to be sent: bytes[start..end). */
  bytes: Uint8Array;
  start = 0;
  end = 0;
  readonly #network: Network;
  readonly #trace: TraceFields;
  readonly #tail: FieldTail;
  /** Where the scratch ends for heads: the tail lies behind. */
  readonly #limit: number;

  constructor(deps: { network: Network; trace: TraceFields }) {
    this.#network = deps.network;
    this.#trace = deps.trace;
    this.bytes = deps.network.scratch.bytes;
    this.#tail = new FieldTail(deps.network.scratch);
    this.#limit = this.#tail.start;
  }

  /** Places the request's head, followed by bytes[headEnd..stop) as far as it fits; returns where that ends, or -1 when the head is
   *  too long. [headEnd, limit) may be overwritten; limit 0: it may not. */
  placeRequest(
    head: RequestHead,
    identityFields: Uint8Array,
    plan: ForwardPlan,
    bytes: Uint8Array,
    headEnd: number,
    stop: number,
    limit: number,
  ): number {
    const tail = this.#requestTail(head, identityFields, plan.request);
    const rewrite = plan.rewrite === undefined ? undefined : rewriteOf(plan.rewrite, plan, head);
    if (rewrite === undefined) return this.#place(head, tail, bytes, headEnd, stop, limit);
    const { scratch } = this.#network;
    const end = rewriteInto(
      head,
      rewrite,
      tail.bytes,
      tail.start,
      tail.end,
      scratch.bytes,
      scratch.start,
      this.#limit,
    );
    return this.#behind(end, bytes, headEnd, stop);
  }

  /** As placeRequest. */
  placeResponse(
    head: ResponseHead,
    plan: FieldPlan | undefined,
    isLast: boolean,
    bytes: Uint8Array,
    headEnd: number,
    stop: number,
    limit: number,
  ): number {
    const tail = this.#tail;
    tail.reset();
    if (plan !== undefined) {
      for (const name of plan.drops) head.drop(name);
      tail.append(plan.tail);
    }
    if (isLast) tail.append(CLOSE);
    if (tail.isEmpty && head.droppedCount === 0 && head.minorVersion === 1) {
      this.bytes = bytes;
      this.start = head.start;
      this.end = stop;
      return stop;
    }
    return this.#place(head, tail, bytes, headEnd, stop, headEnd === stop ? limit : 0);
  }

  /** The head of a 101, without what follows it. */
  placeSwitch(head: ResponseHead, bytes: Uint8Array, headEnd: number): number {
    this.#tail.reset();
    return this.#place(head, this.#tail, bytes, headEnd, headEnd, 0);
  }

  #requestTail(head: RequestHead, identityFields: Uint8Array, plan: FieldPlan): FieldTail {
    const tail = this.#tail;
    tail.reset();
    const { drops } = plan;
    for (const name of drops) head.drop(name);
    // What a route sets or removes is not made anew.
    if (head.find("x-request-id") < 0 && !drops.includes("x-request-id"))
      tail.end = this.#trace.writeRequestId(tail.bytes, tail.end);
    if (head.find("traceparent") < 0 && !drops.includes("traceparent"))
      tail.end = this.#trace.writeTraceParent(tail.bytes, tail.end);
    tail.append(identityFields);
    tail.append(plan.tail);
    return tail;
  }

  #place(
    head: RequestHead | ResponseHead,
    tail: FieldTail,
    bytes: Uint8Array,
    headEnd: number,
    stop: number,
    limit: number,
  ): number {
    if (limit > 0) {
      const start = head.start;
      const end = editInPlace(head, tail.bytes, tail.start, tail.end, limit);
      if (end >= 0) {
        this.bytes = bytes;
        this.start = start;
        this.end = end;
        return headEnd;
      }
    }
    const { scratch } = this.#network;
    const end = editInto(
      head,
      tail.bytes,
      tail.start,
      tail.end,
      scratch.bytes,
      scratch.start,
      this.#limit,
    );
    return this.#behind(end, bytes, headEnd, stop);
  }

  /** The head ends at `end` in the scratch; puts the body's beginning behind it. */
  #behind(end: number, bytes: Uint8Array, headEnd: number, stop: number): number {
    if (end < 0) return -1;
    const { scratch } = this.#network;
    const length = Math.min(stop - headEnd, this.#limit - end);
    if (length > 0) {
      if (bytes === scratch.bytes) {
        scratch.bytes.copyWithin(end, headEnd, headEnd + length);
      } else scratch.bytes.set(bytes.subarray(headEnd, headEnd + length), end);
    }
    this.bytes = scratch.bytes;
    this.start = scratch.start;
    this.end = end + length;
    return headEnd + length;
  }
}
