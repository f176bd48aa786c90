// Our end of a datagram session that a peer's agent dialled: its connection has proven who it is and names one port of one local workload.
//
//   fresh --HELLO, READY--> ready --connection ended, breach--> over
import { type DatagramSocket, TAG_BYTES } from "../../base/datagrams.ts";
import type { Stream } from "../../base/net.ts";
import type { Deadline } from "../../base/timer-wheel.ts";
import {
  PAYLOAD_AT,
  SEALED_PAYLOAD_MAX,
  SESSION_KEY_BYTES,
  SealedDatagrams,
  sessionKeys,
} from "../../protocol/datagrams/sealed.ts";
import type { Inbound } from "../arrival.ts";
import { Guarded } from "../guarded.ts";
import { FlowTable } from "./flow-table.ts";
import { InboundFlow } from "./inbound-flow.ts";
import { EXPORTER_LABEL, HELLO, HELLO_BYTES, READY, RENEW } from "./session-words.ts";
import { claimFlow, type UdpContext } from "./udp-context.ts";

export interface InboundSessionFacts {
  readonly meshPort: number;
  /** Ends when it is over. */
  onOver(session: InboundSession): void;
}

export class InboundSession extends Guarded {
  readonly flows: FlowTable<number, InboundFlow>;
  readonly #udp: UdpContext;
  readonly #stream: Stream;
  readonly #facts: InboundSessionFacts;
  readonly #limit: Deadline;
  readonly #hello: number[] = [];
  #inbound: Inbound;
  #socket: DatagramSocket | undefined;
  #sealed: SealedDatagrams | undefined;
  #hasAskedToRenew = false;
  #isOver = false;

  constructor(udp: UdpContext, inbound: Inbound, stream: Stream, facts: InboundSessionFacts) {
    super(udp.plane.context);
    this.#udp = udp;
    this.#inbound = inbound;
    this.#stream = stream;
    this.#facts = facts;
    this.flows = new FlowTable(udp.bounds.sessionFlowsMax);
    this.#limit = this.context.deadline(() => this.end());
    this.#limit.set(this.context.nowMs() + udp.bounds.dialTimeoutMs);
    stream.handler = this;
  }

  get serverName(): string {
    return this.#stream.mesh?.serverName ?? "";
  }
  /** Who is called. */
  get identity(): string {
    return this.#inbound.workload.identity;
  }

  protected override opened(): void {}
  protected received(stream: Stream, bytes: Uint8Array, start: number, end: number): void {
    for (let at = start; at < end; at++) this.#hello.push(bytes[at] as number);
    if (this.#socket !== undefined || this.#hello.length > HELLO_BYTES) this.end();
    else if (this.#hello.length === HELLO_BYTES) this.#begin(stream);
  }

  #begin(stream: Stream): void {
    const [word, high = 0, low = 0] = this.#hello;
    const port = high * 256 + low;
    if (word !== HELLO || port === 0) {
      this.end();
      return;
    }
    const { datagrams, drops } = this.#udp;
    const exported = datagrams.exportKey(stream, EXPORTER_LABEL, SESSION_KEY_BYTES);
    const keys = sessionKeys(exported, "acceptor", (key) => datagrams.aead(key));
    this.#sealed = new SealedDatagrams(keys);
    const ports = { from: this.#facts.meshPort, to: port };
    const socket = datagrams.beside(stream, ports, {
      onDatagram: (bytes, start, end) => this.#guard(() => this.#arrived(bytes, start, end)),
      onRefused: () => drops.add("not_sent"),
      onNotSent: (datagrams) => drops.add("not_sent", datagrams),
    });
    if (typeof socket === "string") {
      this.#udp.plane.deps.log.warn("no socket for a peer's datagrams", { reason: socket });
      this.end();
      return;
    }
    this.#socket = socket;
    this.#limit.cancel();
    this.#say(READY);
  }

  #say(word: number): void {
    if (this.#stream.write(Uint8Array.of(word), 0, 1) !== 1) this.end();
  }

  #arrived(bytes: Uint8Array, start: number, end: number): void {
    const outcome = this.#sealed?.open(bytes, start, end) ?? "forged";
    if (outcome !== "opened") {
      this.#udp.drops.add(outcome);
      return;
    }
    const id = this.#sealed?.flow ?? 0;
    const flow = this.flows.get(id) ?? this.#newFlow(id);
    if (flow === undefined) this.#udp.drops.add("too_many");
    else flow.take(bytes, start + PAYLOAD_AT, end - TAG_BYTES);
  }

  #newFlow(id: number): InboundFlow | undefined {
    if (!claimFlow(this.#udp)) return undefined;
    const { peerAddress: address, peerPort, mesh } = this.#stream;
    const flow = new InboundFlow(this.#udp, this.#inbound, {
      caller: { identity: mesh?.identity, address },
      peerPort,
      serverName: this.serverName,
      answer: (bytes, start, end) => this.#answer(id, bytes, start, end),
    });
    this.flows.add(id, flow);
    return flow;
  }

  #answer(flow: number, bytes: Uint8Array, start: number, end: number): boolean {
    const { drops, datagrams } = this.#udp;
    if (this.#sealed === undefined || this.#socket === undefined) return false;
    if (end - start > SEALED_PAYLOAD_MAX) {
      drops.add("too_long");
      return false;
    }
    const { scratch } = datagrams;
    const payload = { bytes, start, end };
    const sealedEnd = this.#sealed.seal(flow, payload, scratch.bytes, scratch.start);
    if (this.#sealed.isSpent) this.renew();
    const isSent = this.#socket.send(scratch.bytes, scratch.start, sealedEnd);
    if (!isSent) drops.add("not_sent");
    return isSent;
  }

  /** Asks the dialler for new keys. */
  renew(): void {
    if (this.#isOver || this.#socket === undefined || this.#hasAskedToRenew) return;
    this.#hasAskedToRenew = true;
    this.#say(RENEW);
  }

  /** A new snapshot; undefined: nobody declares that port any more. */
  refresh(inbound: Inbound | undefined): void {
    if (inbound === undefined) {
      this.end();
      return;
    }
    this.#inbound = inbound;
    for (const flow of this.flows.all()) flow.refresh(inbound);
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
    this.end();
  }
  protected closed(): void {
    this.end();
  }
  protected abandon(): void {
    this.end();
  }

  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#limit.cancel();
    this.flows.endAll();
    this.#socket?.close();
    this.#stream.close();
    this.#facts.onOver(this);
  }
}
