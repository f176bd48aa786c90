// The gossip member's sockets, on the main thread: datagrams, and streams of one question and one answer (4 bytes of length, big
// endian, then that many). What the bytes mean is membership/'s affair; here they are bounded in size, number and time.
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { connect, createServer, type Server, type Socket } from "node:net";
import { CannotListen } from "./cannot-listen.ts";
import { listenOn } from "./listening-socket.ts";

export interface GossipSocketEvents {
  onDatagram(bytes: Uint8Array): void;
  /** The answer; undefined: none is owed. */
  onQuestion(bytes: Uint8Array): Uint8Array | undefined;
}

export interface GossipSocketConfig {
  readonly port: number;
  readonly hasIpv6: boolean;
  /** Longest question or answer on a stream. */
  readonly streamBytesMax: number;
}

/** Streams of others that are open at once, and of our own; one more is refused, or not dialled. */
const STREAMS_MAX = 64;
/** A stream's whole life. */
const STREAM_MS = 3_000;
/** Datagrams read in a second; a flood is left to the kernel's buffer, which drops it, before any is deciphered. */
const DATAGRAMS_PER_SECOND_MAX = 20_000;

export class GossipSocket {
  readonly #config: GossipSocketConfig;
  readonly #events: GossipSocketEvents;
  readonly #udp: { "4": UdpSocket; "6": UdpSocket | undefined };
  readonly #servers: Server[] = [];
  readonly #own = new Set<Socket>();
  #isClosed = false;
  #second = 0;
  #datagrams = 0;

  constructor(config: GossipSocketConfig, events: GossipSocketEvents) {
    this.#config = config;
    this.#events = events;
    this.#udp = {
      "4": createSocket("udp4"),
      "6": config.hasIpv6 ? createSocket({ type: "udp6", ipv6Only: true }) : undefined,
    };
  }

  /** Throws CannotListen when the port is taken. */
  async listen(): Promise<void> {
    try {
      await this.#bind("4", "0.0.0.0");
      await this.#bind("6", "::");
    } catch (cause) {
      this.close();
      throw cause;
    }
  }

  send(address: string, port: number, bytes: Uint8Array): void {
    const socket = address.includes(":") ? this.#udp["6"] : this.#udp["4"];
    if (this.#isClosed || socket === undefined) return;
    try {
      // A datagram that the kernel does not take is lost, as datagrams may be.
      socket.send(bytes, port, address, () => undefined);
    } catch {
      // the same, told at once: no route, or an ICMP error of an earlier one
    }
  }

  /** Exactly one answer, perhaps undefined, not within this call. */
  ask(
    address: string,
    port: number,
    question: Uint8Array,
    answer: (bytes: Uint8Array | undefined) => void,
  ): void {
    if (this.#isClosed || this.#own.size >= STREAMS_MAX) {
      queueMicrotask(() => answer(undefined));
      return;
    }
    const socket = connect({ host: address, port });
    this.#own.add(socket);
    let isAnswered = false;
    const end = (bytes: Uint8Array | undefined): void => {
      if (isAnswered) return;
      isAnswered = true;
      clearTimeout(timer);
      this.#own.delete(socket);
      socket.destroy();
      answer(bytes);
    };
    const timer = setTimeout(() => end(undefined), STREAM_MS);
    socket.on("connect", () => socket.write(framed(question)));
    socket.on("error", () => end(undefined));
    socket.on("close", () => end(undefined));
    onFrame(socket, this.#config.streamBytesMax, end);
  }

  close(): void {
    this.#isClosed = true;
    for (const socket of [this.#udp["4"], this.#udp["6"]]) {
      try {
        socket?.close();
      } catch {
        // it never was bound
      }
    }
    for (const server of this.#servers) server.close();
    for (const socket of this.#own) socket.destroy();
  }

  async #bind(family: "4" | "6", address: string): Promise<void> {
    const { port } = this.#config;
    const udp = this.#udp[family];
    if (udp === undefined) return;
    udp.on("message", (bytes: Uint8Array) => this.#received(bytes));
    const server = createServer((socket) => this.#serve(socket));
    server.maxConnections = STREAMS_MAX;
    this.#servers.push(server);
    try {
      await settled(udp, "listening", () => udp.bind({ port, address, exclusive: true }));
      // Opened by us: Deno takes IPv4 as well, whatever it is told.
      const fd = listenOn(address, port);
      await settled(server, "listening", () => server.listen({ fd }));
    } catch (error) {
      if (error instanceof CannotListen) throw error;
      throw new CannotListen(address, port, (error as { code?: string }).code ?? String(error));
    }
    // An ICMP refusal of something we sent must not end the process.
    udp.on("error", () => undefined);
    server.on("error", () => undefined);
  }

  #received(bytes: Uint8Array): void {
    const second = Math.floor(performance.now() / 1_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#datagrams = 0;
    }
    if (this.#isClosed || ++this.#datagrams > DATAGRAMS_PER_SECOND_MAX) return;
    this.#events.onDatagram(bytes);
  }

  #serve(socket: Socket): void {
    const timer = setTimeout(() => socket.destroy(), STREAM_MS);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => clearTimeout(timer));
    onFrame(socket, this.#config.streamBytesMax, (question) => {
      const answer = question === undefined ? undefined : this.#events.onQuestion(question);
      if (answer === undefined) socket.destroy();
      else socket.end(framed(answer));
    });
  }
}

const LENGTH_BYTES = 4;

function framed(bytes: Uint8Array): Uint8Array {
  const frame = new Uint8Array(LENGTH_BYTES + bytes.length);
  new DataView(frame.buffer).setUint32(0, bytes.length);
  frame.set(bytes, LENGTH_BYTES);
  return frame;
}

/** Calls back once: with the frame, or with undefined when what comes is none. Memory grows with what arrived, not with what a
 *  length announces. */
function onFrame(
  socket: Socket,
  bytesMax: number,
  take: (frame: Uint8Array | undefined) => void,
): void {
  let parts: Uint8Array[] = [];
  let have = 0;
  let isOver = false;
  const finish = (frame: Uint8Array | undefined): void => {
    isOver = true;
    parts = [];
    take(frame);
  };
  socket.on("data", (bytes: Uint8Array) => {
    if (isOver) return;
    parts.push(bytes);
    have += bytes.length;
    if (have < LENGTH_BYTES) return;
    const first = parts[0] as Uint8Array;
    if (first.length < LENGTH_BYTES) parts = [Buffer.concat(parts)];
    const head = parts[0] as Uint8Array;
    const length = new DataView(head.buffer, head.byteOffset, head.byteLength).getUint32(0);
    if (length > bytesMax || have > LENGTH_BYTES + length) finish(undefined);
    else if (have === LENGTH_BYTES + length)
      finish(Uint8Array.prototype.slice.call(Buffer.concat(parts), LENGTH_BYTES));
  });
}

function settled(
  emitter: UdpSocket | Server,
  event: "listening",
  begin: () => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    emitter.once("error", reject);
    emitter.once(event, () => {
      emitter.off("error", reject);
      resolve();
    });
    begin();
  });
}
