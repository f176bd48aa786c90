// A lane whose stream asked for a tunnel by CONNECT, RFC 9113 8.5: it is shown no head, and its owner says whether the tunnel stands.
import type { StreamHandler } from "../../base/net.ts";
import { REFUSED_UPGRADE } from "../http1/refusal.ts";
import type { Http2Connection } from "./connection.ts";
import type { Mistake } from "./field-rules.ts";
import { CODE } from "./frame.ts";
import { writeStatus } from "./from-http1.ts";
import { Lane, UNTIL_ITS_END } from "./lane.ts";

const OK = 200;
const UNAVAILABLE = 503;
/** Of a status alone. */
const BLOCK_BYTES_MAX = 16;

export class TunnelLane extends Lane {
  readonly speaks = "HTTP/2";
  /** Whom the tunnel is to, as its client wrote it. */
  readonly authority: string;
  /** What its client is answered if it is closed or reset before it stands. */
  refusal = UNAVAILABLE;

  constructor(wire: Http2Connection, handler: StreamHandler, authority: string) {
    super(wire, handler, true);
    this.authority = authority;
  }

  /** Its stream; `isLast`: its client says nothing in the tunnel. What comes meanwhile waits until it stands. */
  ask(id: number, isLast: boolean): void {
    this.begin(id);
    this.tunnel = "asked";
    this.beginContent("tunnel", 0);
    if (!isLast) return;
    this.receiving = "done";
    this.shown.end();
  }

  /** The tunnel stands. */
  open(): void {
    if (!this.isAlive || this.tunnel !== "asked") return;
    this.tunnel = "open";
    this.body.begin(UNTIL_ITS_END);
    this.sending = "body";
    this.#say(OK, false);
    this.shown.stands();
  }

  #say(status: number, isLast: boolean): void {
    const at = this.wire.beginBlock(BLOCK_BYTES_MAX);
    const { out } = this.wire;
    out.endBlock(this.streamId, writeStatus(out.bytes, at, status), isLast);
  }

  #refuse(): void {
    if (this.streamId === 0 || this.tunnel !== "asked") return;
    this.#say(this.refusal, true);
    this.sending = "done";
    if (this.receiving !== "done") this.wire.resetStream(this.streamId, CODE.noError);
    this.finish();
  }

  override close(): void {
    this.#refuse();
    super.close();
  }

  override reset(): void {
    this.#refuse();
    super.reset();
  }

  override receiveFields(): Mistake | undefined {
    return "fields_in_tunnel";
  }

  /** Nothing is said in it before it stands. */
  protected override takeHead(): number {
    return REFUSED_UPGRADE;
  }

  protected override settle(): void {
    if (this.sending === "done" && this.receiving === "done" && this.streamId !== 0) this.finish();
  }
}
