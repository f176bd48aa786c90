// Gives a request that carries none an x-request-id (a random UUID, RFC 9562) and a traceparent (W3C Trace Context, level 1).
// The fields are written into a template whose hexadecimal digits are replaced in place: no strings, no allocation.
import { bytesOf } from "../base/bytes.ts";
import type { Random } from "../base/clock.ts";

const REQUEST_ID = "x-request-id: 00000000-0000-4000-8000-000000000000\r\n";
const TRACE_PARENT = "traceparent: 00-00000000000000000000000000000000-0000000000000000-00\r\n";
const ID_AT = "x-request-id: ".length;
const TRACE_AT = "traceparent: 00-".length;

const DIGITS = bytesOf("0123456789abcdef");

export interface TraceConfig {
  /** Share of the traces begun here that are marked as sampled, in percent. Default 1, as Istio. */
  readonly samplingPercent: number;
}
export const TRACE_DEFAULTS: TraceConfig = { samplingPercent: 1 };

export class TraceFields {
  readonly #requestId = bytesOf(REQUEST_ID);
  readonly #traceParent = bytesOf(TRACE_PARENT);
  readonly #random: Random;
  readonly #samplingShare: number;

  constructor(config: TraceConfig, deps: { random: Random }) {
    this.#samplingShare = config.samplingPercent / 100;
    this.#random = deps.random;
  }

  /** Writes a whole new x-request-id field to out[at..]; returns its end. */
  writeRequestId(out: Uint8Array, at: number): number {
    const id = this.#requestId;
    this.#hex8(id, ID_AT);
    this.#hex4(id, ID_AT + 9);
    this.#hex4(id, ID_AT + 14);
    id[ID_AT + 14] = 0x34; // version 4
    this.#hex4(id, ID_AT + 19);
    id[ID_AT + 19] = DIGITS[8 | (this.#random.int32() & 3)] as number; // variant 10
    this.#hex8(id, ID_AT + 24);
    this.#hex4(id, ID_AT + 32);
    return copy(id, out, at);
  }

  writeTraceParent(out: Uint8Array, at: number): number {
    const trace = this.#traceParent;
    for (let i = 0; i < 32; i += 8) this.#hex8(trace, TRACE_AT + i);
    this.#hex8(trace, TRACE_AT + 33);
    this.#hex8(trace, TRACE_AT + 41);
    trace[TRACE_AT + 31] = 0x31; // neither id may be all zeros
    trace[TRACE_AT + 48] = 0x31;
    trace[TRACE_AT + 51] = this.#random.unit() < this.#samplingShare ? 0x31 : 0x30;
    return copy(trace, out, at);
  }

  #hex8(bytes: Uint8Array, at: number): void {
    let bits = this.#random.int32();
    for (let i = 0; i < 8; i++) {
      bytes[at + i] = DIGITS[bits & 15] as number;
      bits >>>= 4;
    }
  }

  #hex4(bytes: Uint8Array, at: number): void {
    let bits = this.#random.int32();
    for (let i = 0; i < 4; i++) {
      bytes[at + i] = DIGITS[bits & 15] as number;
      bits >>>= 4;
    }
  }
}

function copy(from: Uint8Array, out: Uint8Array, at: number): number {
  for (let i = 0; i < from.length; i++) out[at + i] = from[i] as number;
  return at + from.length;
}
