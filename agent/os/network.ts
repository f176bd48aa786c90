// base/net.ts on real sockets: plain ones on our epoll, mesh ones on the runtime's TLS.
import type { DialTarget, Network, Scratch, Stream, StreamHandler } from "../base/net.ts";
import { type Loop, SCRATCH_AT, STAGE_AT, STAGE_BYTES } from "./loop.ts";
import type { MeshTls } from "./mesh-tls.ts";
import { connectTcp } from "./socket.ts";
import { SCRATCH_END, TcpStream } from "./tcp.ts";

export class OsNetwork implements Network {
  readonly scratch: Scratch;
  /** A place in the arena that nobody else uses, EDIT_ROOM included. */
  readonly stage: Scratch;
  readonly #loop: Loop;
  readonly #mesh: MeshTls;

  constructor(loop: Loop, mesh: MeshTls) {
    this.#loop = loop;
    this.#mesh = mesh;
    const { bytes } = loop.arena;
    this.scratch = { bytes, start: SCRATCH_AT, end: SCRATCH_END };
    this.stage = { bytes, start: STAGE_AT, end: STAGE_AT + STAGE_BYTES };
  }

  dial(target: DialTarget, handler: StreamHandler): Stream {
    if (target.is === "mesh") return this.#mesh.dial(target, handler);
    const fd = connectTcp(this.#loop, target.address, target.port, target.from);
    if (fd.ok) return new TcpStream(this.#loop, fd.value, handler, target, true);
    const stream = new UnopenedStream(handler, target);
    this.#loop.again({ onReady: () => stream.fail(fd.error) });
    return stream;
  }
}

/** A dial that failed at once: the failure is told after dial() returned. */
class UnopenedStream implements Stream {
  handler: StreamHandler;
  readonly mesh = undefined;
  readonly isOpen = false;
  readonly peerAddress: string;
  readonly peerPort: number;
  #isClosed = false;

  constructor(handler: StreamHandler, target: { address: string; port: number }) {
    this.handler = handler;
    this.peerAddress = target.address;
    this.peerPort = target.port;
  }
  fail(code: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.handler.onClose(this, { is: "connect_failed", code });
  }
  write(): number {
    return 0;
  }
  pause(): void {}
  resume(): void {}
  endWrite(): void {}
  close(): void {
    this.#isClosed = true;
  }
  reset(): void {
    this.#isClosed = true;
  }
}
