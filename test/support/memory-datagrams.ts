// base/datagrams.ts in memory, on virtual time: a cable that loses, holds back and repeats what a test wants it to. Seals are real; the
// keys come from a number that both ends of a memory stream know, in the place of TLS's exporter.
import { createHash } from "node:crypto";
import type {
  Aead,
  Answerer,
  CapturedDatagram,
  DatagramEvents,
  DatagramNetwork,
  DatagramSocket,
} from "../../agent/base/datagrams.ts";
import type { OriginalDestination, Scratch, Stream } from "../../agent/base/net.ts";
import { AesGcm } from "../../agent/os/aes-gcm.ts";
import { MemoryStream } from "./memory-stream.ts";
import type { VirtualClock } from "./virtual-clock.ts";

const POISON = 0xdb;
const ARENA_BYTES = 2 * 65_536;

interface Sent {
  /** `ADDRESS:PORT>ADDRESS:PORT` */
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** What all hosts of a test are joined by. */
export class MemoryCable {
  readonly clock: VirtualClock;
  readonly sockets = new Map<string, DatagramEvents>();
  /** Everything that was sent between hosts or to an app, in its order. */
  readonly sent: Sent[] = [];
  /** False: it is lost; a number: it comes so many milliseconds late. */
  fate: (sent: Sent) => boolean | number = () => true;
  nextPort = 40_000;

  constructor(clock: VirtualClock) {
    this.clock = clock;
  }

  send(sent: Sent): void {
    this.sent.push(sent);
    const fate = this.fate(sent);
    if (fate === false) return;
    this.clock.after(fate === true ? 1 : fate, () => this.deliver(sent));
  }

  /** What a test sends by itself, or once more. */
  deliver({ path, bytes }: Sent): void {
    const events = this.sockets.get(path);
    if (events === undefined) return;
    const shown = bytes.slice();
    events.onDatagram(shown, 0, shown.length);
    shown.fill(POISON);
  }
}

export class MemoryDatagrams implements DatagramNetwork {
  readonly scratch: Scratch = { bytes: new Uint8Array(ARENA_BYTES), start: 0, end: 65_536 };
  /** What local programs were told, as `FROM TEXT`. */
  readonly answers: string[] = [];
  canSeal = true;
  readonly #cable: MemoryCable;
  readonly #address: string;

  constructor(cable: MemoryCable, address: string) {
    this.#cable = cable;
    this.#address = address;
  }

  connect(address: string, port: number, events: DatagramEvents): DatagramSocket {
    return this.#open(0, `${address}:${port}`, events);
  }

  beside(
    stream: Stream,
    ports: { readonly from: number | undefined; readonly to: number },
    events: DatagramEvents,
  ): DatagramSocket {
    return this.#open(ports.from ?? 0, `${stream.peerAddress}:${ports.to}`, events);
  }

  #open(asked: number, peer: string, events: DatagramEvents): DatagramSocket {
    const cable = this.#cable;
    const localPort = asked === 0 ? cable.nextPort++ : asked;
    const here = `${this.#address}:${localPort}`;
    cable.sockets.set(`${peer}>${here}`, events);
    return {
      localPort,
      send: (bytes, start, end) => {
        cable.send({ path: `${here}>${peer}`, bytes: bytes.slice(start, end) });
        return true;
      },
      close: () => void cable.sockets.delete(`${peer}>${here}`),
    };
  }

  exportKey(stream: Stream, label: string, bytes: number): Uint8Array {
    if (!(stream instanceof MemoryStream)) throw new Error("not a stream of memory");
    // The dialler's port, as either end sees it.
    const session = Math.max(stream.fromPort, stream.peerPort);
    return new Uint8Array(createHash("sha512").update(`${label} ${session}`).digest()).slice(
      0,
      bytes,
    );
  }

  aead(key: Uint8Array): Aead {
    return new AesGcm(key);
  }

  answerer(from: OriginalDestination): Answerer {
    return {
      send: (bytes, start, end) => {
        const text = new TextDecoder().decode(bytes.subarray(start, end));
        this.answers.push(`${from.address}:${from.port} ${text}`);
        return true;
      },
    };
  }
}

/** What the redirect would bring from a program's socket. */
export function captured(
  from: OriginalDestination,
  to: OriginalDestination,
  text: string,
): CapturedDatagram {
  const bytes = new TextEncoder().encode(text);
  const flowKey = `${from.address}:${from.port}>${to.address}:${to.port}`;
  return { flowKey, from, to, bytes, start: 0, end: bytes.length };
}
