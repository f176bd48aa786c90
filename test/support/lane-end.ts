// One end of an HTTP/2 connection of ours without a network, whose lanes only note what they are shown.
import { readLatin1 } from "../../agent/base/bytes.ts";
import type { Stream, StreamHandler } from "../../agent/base/net.ts";
import { FLAG, FRAME, PREFACE } from "../../agent/protocol/http2/frame.ts";
import { ServerConnection } from "../../agent/protocol/http2/server-connection.ts";
import { sharedByThread } from "../../agent/protocol/http2/shared-by-thread.ts";
import { frameOf } from "./http2-end.ts";

export const HEADERS_MAX = 20;

export const IGNORE = { onOpen() {}, onData() {}, onWritable() {}, onEnd() {}, onClose() {} };

/** A connection whose lanes only note what they are shown. */
export abstract class LaneEnd {
  /** What was shown since, and what was counted. */
  shown: string[] = [];
  isOver = false;
  readonly #tasks: (() => void)[] = [];
  /** What was written to the connection's stream since. */
  written: number[] = [];
  protected readonly stream: Stream = {
    handler: IGNORE,
    mesh: undefined,
    isOpen: true,
    peerAddress: "",
    peerPort: 0,
    write: (bytes, start, end) => {
      this.written.push(...bytes.subarray(start, end));
      return end - start;
    },
    pause() {},
    resume() {},
    endWrite() {},
    close() {},
    reset() {},
  };
  protected readonly deps = sharedByThread(HEADERS_MAX, {
    soon: (task) => void this.#tasks.push(task),
    now: () => 0,
    arrivals: { messages: 0 },
    timers: { after: () => ({ cancel() {} }) },
    stage: { bytes: new Uint8Array(1 << 17), start: 4_096, end: 4_096 + 65_536 },
    webSocketKeys: { make: () => "", acceptOf: () => "" },
    bug: (error) => {
      throw error;
    },
    count: (reason) => void this.shown.push(reason),
  });

  /** Of a lane, which is of no use any more once it was shown something. */
  protected readonly notes: StreamHandler = {
    ...IGNORE,
    onData: (lane: Stream, bytes: Uint8Array, start: number, end: number): void => {
      this.shown.push(readLatin1(bytes, start, end));
      this.deps.stage.bytes.fill(0xdb); // whoever is shown a head edits it in place
      lane.reset();
    },
  };

  protected readonly over = (): void => {
    this.isOver = true;
  };

  protected receive(bytes: Uint8Array): void {
    this.stream.handler.onData(this.stream, bytes, 0, bytes.length);
    this.#runTasks();
  }

  #runTasks(): void {
    for (const task of this.#tasks.splice(0)) task();
  }

  protected hear(id: number, block: Uint8Array, isLast: boolean): void {
    const flags = FLAG.endHeaders | (isLast ? FLAG.endStream : 0);
    this.receive(frameOf(FRAME.headers, flags, id, block));
  }
}

/** The accepting end, past the client's preface and settings. */
export abstract class ServerEnd extends LaneEnd {
  constructor() {
    super();
    const onLane = (lane: Stream): boolean => {
      lane.handler = this.notes;
      return true;
    };
    const events = { onLane, onActive() {}, onOver: this.over };
    new ServerConnection(this.deps, events, this.stream);
    this.receive(PREFACE);
    this.receive(frameOf(FRAME.settings, 0, 0));
  }
}
