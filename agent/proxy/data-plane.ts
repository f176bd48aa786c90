// One thread's data path: takes accepted connections and carries them, by the snapshot that stands when each begins.
import type { Clock, Random } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Network, OriginalDestination, Stream } from "../base/net.ts";
import type { Slots } from "../base/slots.ts";
import type { TimerWheel } from "../base/timer-wheel.ts";
import type { AccessLog } from "../observe/access-log.ts";
import type { SeriesTable } from "../observe/series.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import type { DataPlaneConfig } from "./config.ts";

export interface DataPlaneDeps {
  readonly network: Network;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly random: Random;
  readonly slots: Slots;
  readonly metrics: SeriesTable;
  readonly accessLog: AccessLog;
  readonly log: Log;
  /** A bug of ours was caught at a connection's root; the connection is gone, the rest goes on. */
  bug(error: unknown): void;
}

export class DataPlane {
  readonly config: DataPlaneConfig;
  readonly deps: DataPlaneDeps;
  #snapshot: Snapshot | undefined;

  constructor(config: DataPlaneConfig, deps: DataPlaneDeps) {
    this.config = config;
    this.deps = deps;
  }

  get openConnections(): number {
    return 0;
  }

  /** New connections and new requests use it; requests under way end by the one they began with. */
  swap(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
  }

  /** From a workload's own listener (index into snapshot.workloads); undefined: a process of no workload (15001). */
  acceptOutbound(
    stream: Stream,
    _original: OriginalDestination | undefined,
    _workload: number | undefined,
  ): void {
    stream.reset();
  }

  /** 15006: plaintext to a declared app port, from another host or from this one. */
  acceptInbound(stream: Stream, _original: OriginalDestination | undefined): void {
    stream.reset();
  }

  /** 15008: stream.mesh is set, its peer's identity proven. */
  acceptMesh(stream: Stream): void {
    stream.reset();
  }

  /** Idle connections end now, others with their current request. */
  drain(): void {
    this.#snapshot = undefined;
  }
}
