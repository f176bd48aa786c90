// The data path of one agent without a kernel, for measuring what our own code costs: streams that take everything at once, and time
// that stands still.

import { SeededRandom } from "../../agent/base/clock.ts";
import { SILENT_LOG } from "../../agent/base/log.ts";
import type { DialTarget, MeshPeer, Network, Stream, StreamHandler } from "../../agent/base/net.ts";
import { SharedSlots } from "../../agent/base/slots.ts";
import { TimerWheel } from "../../agent/base/timer-wheel.ts";
import { AccessLog } from "../../agent/observe/access-log.ts";
import { DecisionBook } from "../../agent/observe/decision-book.ts";
import { SERIES_TABLE_DEFAULTS, SeriesTable } from "../../agent/observe/series.ts";
import { webSocketKeys } from "../../agent/os/websocket-keys.ts";
import { AppConnections } from "../../agent/protocol/http2/app-connections.ts";
import { sharedByThread } from "../../agent/protocol/http2/shared-by-thread.ts";
import { DATA_PLANE_DEFAULTS } from "../../agent/proxy/config.ts";
import { DataPlane } from "../../agent/proxy/data-plane.ts";
import { bucketMemory, KeyedBuckets } from "../../agent/resilience/keyed-buckets.ts";
import { snapshot } from "../support/mesh-fixture.ts";

const RECEIVE_AT = 0;
const SCRATCH_AT = 131_072;
const STAGE_AT = 524_288;
const arena = new Uint8Array(1 << 20);

const tasks: (() => void)[] = [];
/** What waits for the end of the loop's turn. */
function runSoon(): void {
  while (tasks.length > 0) for (const task of tasks.splice(0)) task();
}

export class TakingStream implements Stream {
  handler: StreamHandler;
  readonly mesh: MeshPeer | undefined;
  readonly isOpen = true;
  readonly peerAddress = "10.0.0.9";
  readonly peerPort = 1;
  readonly #onWrite: (stream: TakingStream, bytes: Uint8Array, start: number, end: number) => void;
  constructor(
    handler: StreamHandler,
    mesh: MeshPeer | undefined,
    onWrite: (stream: TakingStream, bytes: Uint8Array, start: number, end: number) => void,
  ) {
    this.handler = handler;
    this.mesh = mesh;
    this.#onWrite = onWrite;
  }
  write(bytes: Uint8Array, start: number, end: number): number {
    this.#onWrite(this, bytes, start, end);
    return end - start;
  }
  pause(): void {}
  resume(): void {}
  endWrite(): void {}
  close(): void {}
  reset(): void {
    throw new Error("a connection was refused");
  }
  /** One event, and the end of its turn. */
  receive(bytes: Uint8Array): void {
    arena.set(bytes, RECEIVE_AT);
    this.handler.onData(this, arena, RECEIVE_AT, RECEIVE_AT + bytes.length);
    runSoon();
  }
}

export const IGNORED: StreamHandler = {
  onOpen() {},
  onData() {},
  onWritable() {},
  onEnd() {},
  onClose() {},
};

const fail = (error: unknown): never => {
  throw error;
};

/** `onDial`: its stream opens at the end of the turn. */
export function planeOf(
  host: string,
  changes: Parameters<typeof snapshot>[1],
  onDial: (handler: StreamHandler) => TakingStream,
): DataPlane {
  const http2 = sharedByThread(DATA_PLANE_DEFAULTS.headersMax, {
    soon: (task) => void tasks.push(task),
    now: () => 1_000,
    arrivals: { messages: 0 },
    timers: { after: fail },
    stage: { bytes: arena, start: STAGE_AT, end: STAGE_AT + 65_536 },
    webSocketKeys,
    bug: fail,
    count: (reason) => fail(new Error(reason)),
  });
  const network: Network = {
    scratch: { bytes: arena, start: SCRATCH_AT, end: SCRATCH_AT + 196_608 },
    dial: (_target: DialTarget, handler: StreamHandler): Stream => {
      const stream = onDial(handler);
      tasks.push(() => handler.onOpen(stream));
      return stream;
    },
  };
  const clock = { nowMs: () => 1_000.5, wallMs: () => 1_000 };
  const plane = new DataPlane(DATA_PLANE_DEFAULTS, {
    network: new AppConnections(network, http2),
    http2,
    clock,
    wheel: new TimerWheel(clock.nowMs),
    random: new SeededRandom(7),
    slots: new SharedSlots(new SharedArrayBuffer(65_536)),
    buckets: new KeyedBuckets([1, 2], bucketMemory(64)),
    metrics: new SeriesTable(SERIES_TABLE_DEFAULTS, () => {}),
    accessLog: new AccessLog({ mode: "off", bytesMax: 1 << 16 } as never, { write: () => {} }),
    decisions: new DecisionBook(
      { nonce: 1, hashSeed: 2 },
      { wallMs: () => 1_000, log: SILENT_LOG },
    ),
    log: SILENT_LOG,
    isLocalAddress: () => false,
    useName: () => {},
    bug: fail,
  });
  plane.swap(snapshot(host, changes));
  return plane;
}

/** Nanoseconds of CPU that each of `count` takes, once it is compiled. */
export function nanosOf(run: () => void, count: number): string {
  const found: number[] = [];
  for (let round = 0; round < 12; round++) {
    const startMicros = process.cpuUsage().user;
    run();
    found.push(((process.cpuUsage().user - startMicros) / count) * 1e3);
  }
  return (found.slice(4).sort((a, b) => a - b)[1] ?? 0).toFixed(0);
}
