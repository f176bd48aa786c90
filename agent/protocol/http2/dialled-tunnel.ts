// A tunnel that we ask a peer for by CONNECT (RFC 9113 8.5): a stream that opens when the peer says that it stands, and fails to connect when
// it says anything else.
import { bytesOf } from "../../base/bytes.ts";
import type { CloseReason, StreamHandler } from "../../base/net.ts";
import { REFUSED_UPGRADE } from "../http1/refusal.ts";
import type { ClientConnection } from "./client-connection.ts";
import type { FieldList } from "./field-list.ts";
import { type Mistake, readResponseFields } from "./field-rules.ts";
import { CODE } from "./frame.ts";
import { fieldBytesMax, writeNamed } from "./hpack-encoder.ts";
import { Lane, UNTIL_ITS_END } from "./lane.ts";

const CONNECT = bytesOf("CONNECT");
const AUTHORITY_INDEX = 1;
const METHOD_INDEX = 2;
/** Why a dial came to nothing, as logs and metrics call it. */
const DENIED = "tunnel_denied";
const NOT_FOUND = "tunnel_not_found";
const UNAVAILABLE = "tunnel_unavailable";
const REFUSED = "tunnel_refused";
const WORDS: ReadonlyMap<number, string> = new Map([
  [401, DENIED],
  [403, DENIED],
  [404, NOT_FOUND],
  [503, UNAVAILABLE],
]);

export class DialledTunnel extends Lane {
  readonly #authority: Uint8Array;
  #isOpening = true;

  constructor(connection: ClientConnection, handler: StreamHandler, authority: string) {
    super(connection, handler, false);
    this.#authority = bytesOf(authority);
  }

  protected override get isOpening(): boolean {
    return this.#isOpening;
  }

  override opened(): void {
    if (!this.#isOpening || this.streamId !== 0) return;
    const { wire } = this;
    if (wire.isRetiring) this.cut(CODE.cancel, undefined, "ECONNRESET");
    else if (wire.canSend && wire.mayOpen) this.#ask();
    else wire.wait(this); // for a stream more, or room
  }

  #ask(): void {
    const { wire } = this;
    const authority = this.#authority;
    this.begin(wire.open(this));
    this.tunnel = "asked";
    this.body.begin(UNTIL_ITS_END);
    const bytesMax = CONNECT.length + authority.length + 2 * fieldBytesMax(0, 0);
    let at = wire.beginBlock(bytesMax);
    const { out } = wire;
    at = writeNamed(out.bytes, at, METHOD_INDEX, CONNECT, 0, CONNECT.length);
    at = writeNamed(out.bytes, at, AUTHORITY_INDEX, authority, 0, authority.length);
    out.endBlock(this.streamId, at, false);
  }

  override writable(): void {
    if (!this.#isOpening) {
      super.writable();
      return;
    }
    this.isWaiting = false;
    this.opened();
  }

  override receiveFields(fields: FieldList, isLast: boolean): Mistake | undefined {
    if (this.receiving !== "head") return "fields_in_tunnel";
    const { facts } = this.wire.deps;
    const malformed = readResponseFields(fields, facts);
    if (malformed !== undefined) return malformed;
    if (facts.status < 200) return isLast ? "pseudo_field" : undefined;
    if (facts.status >= 300) this.cut(CODE.cancel, undefined, WORDS.get(facts.status) ?? REFUSED);
    else this.#stands(isLast);
    return undefined;
  }

  #stands(isLast: boolean): void {
    this.#isOpening = false;
    this.isAlive = true;
    this.tunnel = "open";
    this.sending = "body";
    this.beginContent("tunnel", 0);
    if (isLast) this.receiving = "done";
    this.handler.onOpen(this);
    if (isLast) this.shown.end();
  }

  override close(): void {
    this.#isOpening = false;
    super.close();
  }

  override died(reason: CloseReason): void {
    super.died(reason);
    this.#isOpening = false;
  }

  /** No head is said in it. */
  protected override takeHead(): number {
    return REFUSED_UPGRADE;
  }

  protected override settle(): void {
    if (this.sending === "done" && this.receiving === "done" && this.streamId !== 0) this.finish();
  }
}
