// base/datagrams.ts on real sockets.
import type {
  Aead,
  Answerer,
  DatagramEvents,
  DatagramNetwork,
  DatagramSocket,
} from "../base/datagrams.ts";
import type { OriginalDestination, Scratch, Stream } from "../base/net.ts";
import { AesGcm } from "./aes-gcm.ts";
import { DatagramBatch } from "./datagram-batch.ts";
import { type Loop, SCRATCH_AT, SCRATCH_BYTES } from "./loop.ts";
import { RawAnswers } from "./raw-answers.ts";
import { exportsKeys } from "./runtime.ts";
import { TlsStream } from "./tls-stream.ts";
import { UdpSocket } from "./udp-socket.ts";

export class OsDatagrams implements DatagramNetwork {
  readonly scratch: Scratch;
  readonly canSeal = exportsKeys();
  readonly #loop: Loop;
  readonly #batch: DatagramBatch;
  readonly #answers: RawAnswers;

  constructor(loop: Loop) {
    this.#loop = loop;
    this.#batch = new DatagramBatch(loop);
    this.#answers = new RawAnswers(loop);
    // What is sent is copied to the last 64 KiB.
    const end = SCRATCH_AT + SCRATCH_BYTES - 65_536 - 64;
    this.scratch = { bytes: loop.arena.bytes, start: SCRATCH_AT, end };
  }

  connect(address: string, port: number, events: DatagramEvents): DatagramSocket | string {
    return UdpSocket.open(this.#loop, this.#batch, { to: { address, port } }, events);
  }

  beside(
    stream: Stream,
    ports: { readonly from: number | undefined; readonly to: number },
    events: DatagramEvents,
  ): DatagramSocket | string {
    const tls = meshStream(stream);
    const to = { address: tls.peerAddress, port: ports.to };
    const from =
      ports.from === undefined ? undefined : { address: tls.localAddress, port: ports.from };
    return UdpSocket.open(this.#loop, this.#batch, { to, from, isGathered: true }, events);
  }

  exportKey(stream: Stream, label: string, bytes: number): Uint8Array {
    return meshStream(stream).exportKey(label, bytes);
  }

  aead(key: Uint8Array): Aead {
    return new AesGcm(key);
  }

  answerer(from: OriginalDestination, to: OriginalDestination): Answerer {
    return this.#answers.answerer(from, to);
  }
}

function meshStream(stream: Stream): TlsStream {
  if (stream instanceof TlsStream) return stream;
  throw new Error("datagrams go beside a mesh connection of its own only");
}
