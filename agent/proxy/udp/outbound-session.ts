// Our end of a datagram session that we dialled: one for each source identity and target, shared by all flows between them.
//
//   dialling --proven, READY--> ready --RENEW, certificate renewed, spent--> retired (hears, sends no more) --lingerMs--> over
//       \--refused, dialTimeoutMs--> over        \--connection ended--> over
import type { DatagramSocket } from "../../base/datagrams.ts";
import { TAG_BYTES } from "../../base/datagrams.ts";
import type { MeshTarget, Stream } from "../../base/net.ts";
import type { Deadline } from "../../base/timer-wheel.ts";
import {
  PAYLOAD_AT,
  SEALED_PAYLOAD_MAX,
  SESSION_KEY_BYTES,
  SealedDatagrams,
  sessionKeys,
} from "../../protocol/datagrams/sealed.ts";
import { Guarded } from "../guarded.ts";
import { EXPORTER_LABEL, HELLO, READY, RENEW } from "./session-words.ts";
import type { UdpContext } from "./udp-context.ts";

export interface SessionUser {
  /** Unique among the thread's flows. */
  readonly id: number;
  ready(): void;
  answered(bytes: Uint8Array, start: number, end: number): void;
  /** The session is over. */
  lost(code: string): void;
}

export class OutboundSession extends Guarded {
  readonly as: string;
  readonly users = new Map<number, SessionUser>();
  /** Bytes that its flows keep for it. */
  queuedBytes = 0;
  state: "dialling" | "ready" | "retired" | "over" = "dialling";
  quietSinceMs: number;
  readonly #udp: UdpContext;
  readonly #target: MeshTarget;
  readonly #limit: Deadline;
  readonly #onOver: (code: string) => void;
  readonly #stream: Stream;
  #socket: DatagramSocket | undefined;
  #sealed: SealedDatagrams | undefined;

  constructor(udp: UdpContext, target: MeshTarget, onOver: (code: string) => void) {
    super(udp.plane.context);
    this.#udp = udp;
    this.#target = target;
    this.as = target.as;
    this.#onOver = onOver;
    this.quietSinceMs = this.context.nowMs();
    this.#limit = this.context.deadline(() => this.#end("ETIMEDOUT"));
    this.#limit.set(this.quietSinceMs + udp.bounds.dialTimeoutMs);
    this.#stream = this.context.deps.network.dial(target, this);
  }

  get isSpent(): boolean {
    return this.#sealed?.isSpent === true;
  }

  /** False: lost, and counted. Only while it is ready. */
  send(flow: number, bytes: Uint8Array, start: number, end: number): boolean {
    const { drops, datagrams } = this.#udp;
    if (end - start > SEALED_PAYLOAD_MAX) {
      drops.add("too_long");
      return false;
    }
    if (this.#sealed === undefined || this.#socket === undefined) return false;
    const { scratch } = datagrams;
    const payload = { bytes, start, end };
    const sealedEnd = this.#sealed.seal(flow, payload, scratch.bytes, scratch.start);
    const isSent = this.#socket.send(scratch.bytes, scratch.start, sealedEnd);
    if (!isSent) drops.add("not_sent");
    return isSent;
  }

  /** Sends no more, and hears for a while what is under way. */
  retire(): void {
    if (this.state === "over" || this.state === "retired") return;
    if (this.state === "dialling") {
      this.#end("retired");
      return;
    }
    this.state = "retired";
    this.#limit.set(this.context.nowMs() + this.#udp.bounds.lingerMs);
  }

  close(): void {
    this.#end("closed");
  }

  protected override opened(stream: Stream): void {
    const { datagrams } = this.#udp;
    const exported = datagrams.exportKey(stream, EXPORTER_LABEL, SESSION_KEY_BYTES);
    const keys = sessionKeys(exported, "dialler", (key) => datagrams.aead(key));
    this.#sealed = new SealedDatagrams(keys);
    const ports = { from: undefined, to: this.#target.port };
    const socket = datagrams.beside(stream, ports, {
      onDatagram: (bytes, start, end) => this.#guard(() => this.#arrived(bytes, start, end)),
      onRefused: () => this.#udp.drops.add("not_sent"),
      onNotSent: (datagrams) => this.#udp.drops.add("not_sent", datagrams),
    });
    if (typeof socket === "string") {
      this.#end(socket);
      return;
    }
    this.#socket = socket;
    const { localPort } = socket;
    const hello = Uint8Array.of(HELLO, localPort >> 8, localPort & 255);
    if (stream.write(hello, 0, hello.length) !== hello.length) this.#end("EPIPE");
  }

  protected received(_stream: Stream, bytes: Uint8Array, start: number, end: number): void {
    for (let at = start; at < end && this.state !== "over"; at++) {
      if (bytes[at] === READY && this.state === "dialling") this.#becomeReady();
      else if (bytes[at] === RENEW && this.state !== "dialling") this.retire();
      else this.#end("protocol");
    }
  }

  #becomeReady(): void {
    this.state = "ready";
    this.#limit.cancel();
    for (const user of [...this.users.values()]) user.ready();
  }

  #arrived(bytes: Uint8Array, start: number, end: number): void {
    const outcome = this.#sealed?.open(bytes, start, end) ?? "forged";
    if (outcome !== "opened") {
      this.#udp.drops.add(outcome);
      return;
    }
    const user = this.users.get(this.#sealed?.flow ?? 0);
    if (user === undefined) this.#udp.drops.add("no_flow");
    else user.answered(bytes, start + PAYLOAD_AT, end - TAG_BYTES);
  }

  #guard(task: () => void): void {
    try {
      task();
    } catch (error) {
      this.fell(error);
    }
  }

  protected writable(): void {}
  protected ended(): void {
    this.#end("ended");
  }
  protected closed(_stream: Stream, reason: { readonly is: string; readonly code?: string }): void {
    this.#end(reason.code ?? "ended");
  }
  protected abandon(): void {
    this.#end("bug");
  }

  #end(code: string): void {
    if (this.state === "over") return;
    const how = this.state === "retired" ? "retired" : code;
    this.state = "over";
    this.#limit.cancel();
    this.#stream.close();
    this.#socket?.close();
    const users = [...this.users.values()];
    this.users.clear();
    this.#onOver(how);
    for (const user of users) user.lost(how);
  }
}
