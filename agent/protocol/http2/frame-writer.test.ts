import { expect, test } from "bun:test";
import { SeededRandom } from "../../base/clock.ts";
import type { Stream } from "../../base/net.ts";
import { FRAME } from "./frame.ts";
import { FrameReader } from "./frame-reader.ts";
import { FrameWriter } from "./frame-writer.ts";
import { WriteBuffers } from "./write-buffers.ts";

/** Takes as much as it is let, and keeps copies. */
class Peer {
  readonly taken: Uint8Array[] = [];
  takes = Number.POSITIVE_INFINITY;
  write(bytes: Uint8Array, start: number, end: number): number {
    const until = Math.min(end, start + this.takes);
    this.taken.push(bytes.slice(start, until));
    return until - start;
  }
  get stream(): Stream {
    return this as unknown as Stream;
  }
  /** Each frame's stream and content. */
  get frames(): string[] {
    const found: string[] = [];
    const reader = new FrameReader({
      onFrame: ({ kind, stream }, bytes, start, end) => {
        if (kind === FRAME.data) found.push(`${stream} ${bytes[start]} ${end - start}`);
      },
      onTooLong: () => found.push("too long"),
    });
    for (const bytes of this.taken) reader.read(bytes, 0, bytes.length);
    return found;
  }
}

class CountingBuffers extends WriteBuffers {
  lent = 0;
  override take(bytes: number): Uint8Array {
    this.lent++;
    return super.take(bytes);
  }
  override give(buffer: Uint8Array): void {
    if (buffer.length > 0) this.lent--;
    super.give(buffer);
  }
}

function writerTo(peer: Peer, buffers: WriteBuffers): { writer: FrameWriter; turn(): void } {
  const tasks: (() => void)[] = [];
  const fail = (): never => {
    throw new Error("overflow");
  };
  const writer = new FrameWriter({
    buffers,
    soon: (task) => void tasks.push(task),
    onOverflow: fail,
  });
  writer.open(peer.stream);
  return {
    writer,
    turn: () => {
      for (const task of tasks.splice(0)) task();
    },
  };
}

test("frames of two connections that share buffers leave whole and in order, however little their peers take at a time", () => {
  const random = new SeededRandom(11);
  const buffers = new WriteBuffers();
  const peers = [new Peer(), new Peer()];
  const ends = peers.map((peer) => writerTo(peer, buffers));
  const said: string[][] = [[], []];
  const content = new Uint8Array(30_000);
  for (let at = 0; at < 400; at++) {
    const one = at % 2;
    const peer = peers[one];
    const end = ends[one];
    if (peer === undefined || end === undefined) throw new Error("two of each");
    peer.takes = Math.floor(random.unit() * 40_000);
    const length = Math.min(1 + Math.floor(random.unit() ** 4 * 16_000), end.writer.room);
    if (length > 0) {
      content.fill(at % 251, 0, length);
      end.writer.data(at + 1, content, 0, length, false);
      said[one]?.push(`${at + 1} ${at % 251} ${length}`);
    }
    if (random.unit() < 0.5) end.turn();
    else end.writer.flush();
  }
  for (const [i, peer] of peers.entries()) {
    peer.takes = Number.POSITIVE_INFINITY;
    ends[i]?.writer.flush();
    expect(peer.frames).toEqual(said[i] ?? []);
  }
});

test("a connection that has nothing to say, or little that is not taken, holds no buffer of the thread's", () => {
  const buffers = new CountingBuffers();
  const peer = new Peer();
  const { writer, turn } = writerTo(peer, buffers);
  writer.data(1, new Uint8Array(100), 0, 100, true);
  expect(buffers.lent).toBe(1);
  turn();
  expect(buffers.lent).toBe(0);
  peer.takes = 50;
  writer.data(3, new Uint8Array(100).fill(3), 0, 100, true);
  turn();
  expect(buffers.lent).toBe(0);
  peer.takes = 1_000;
  writer.flush();
  expect(peer.frames).toEqual(["1 0 100", "3 3 100"]);
});
