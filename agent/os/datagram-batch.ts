// Datagrams that leave at the end of a turn of the loop. Those of one socket that are as long as each other leave by one call and go through
// the kernel as one (UDP_SEGMENT, udp(7)), which is most of what they cost; they are separate datagrams again where they arrive, or where a
// network card takes them.
import { DATAGRAMS_AT, DATAGRAMS_BYTES, type Loop } from "./loop.ts";

const POISON = 0xdb;
const isPoisoned = process.env["IRONMESH_POISON"] === "1";

export interface BatchedSocket {
  /** Sends what it has put here. */
  flush(): void;
}

export class DatagramBatch {
  readonly #loop: Loop;
  readonly #sockets: BatchedSocket[] = [];
  #end = DATAGRAMS_AT;

  constructor(loop: Loop) {
    this.#loop = loop;
  }

  /** False: run() first. */
  hasRoom(bytes: number): boolean {
    return this.#end + bytes <= DATAGRAMS_AT + DATAGRAMS_BYTES;
  }

  /** Copies bytes[start..end) to where the arena keeps them until run(), and returns where. */
  put(bytes: Uint8Array, start: number, end: number): number {
    const at = this.#end;
    const arena = this.#loop.arena.bytes;
    if (bytes === arena) arena.copyWithin(at, start, end);
    else for (let from = start, to = at; from < end; from++) arena[to++] = bytes[from] as number;
    this.#end = at + end - start;
    return at;
  }

  /** Once for each time that it begins to have something here. */
  list(socket: BatchedSocket): void {
    if (this.#sockets.length === 0) this.#loop.sendSoon(this);
    this.#sockets.push(socket);
  }

  run(): void {
    const sockets = this.#sockets;
    for (let i = 0; i < sockets.length; i++) (sockets[i] as BatchedSocket).flush();
    sockets.length = 0;
    if (isPoisoned) this.#loop.arena.bytes.fill(POISON, DATAGRAMS_AT, this.#end);
    this.#end = DATAGRAMS_AT;
  }
}
