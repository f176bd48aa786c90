// What the tests of faults at the socket seam share: what may happen to a stream, the deadlines it happens under, and a watch over a run's
// streams that makes one of its steps fail.
import type { MemoryFabric } from "./memory-network.ts";
import type { Fault, MemoryStream, Step } from "./memory-stream.ts";

export const FAULTS: readonly Fault[] = [
  { is: "takes", bytes: 1 },
  { is: "takes", bytes: 0 },
  { is: "peer_resets" },
  { is: "peer_ends" },
  { is: "peer_falls_silent" },
];

/** So short that a run is past all of them soon. */
export const QUICK = {
  headerTimeoutMs: 1_000,
  bodyTimeoutMs: 1_000,
  streamIdleTimeoutMs: 2_000,
  tcpIdleTimeoutMs: 2_000,
};

/** Sooner than any deadline, later than a back-off. */
export const AT_ONCE_MS = 600;

/** The kernel tells of it: it must not be left to a deadline. */
export const isTold = (fault: Fault): boolean =>
  fault.is === "peer_resets" || fault.is === "peer_ends";

/** May it happen at such a step. */
export const fits = (fault: Fault, step: string): boolean =>
  fault.is !== "takes" || step === "write";

/** Counts the steps of a run, and makes the one at `at` fail; -1: none. */
export class Steps<Place extends string = Step> {
  readonly places: Place[] = [];
  readonly #streams = new Set<MemoryStream>();
  readonly #at: number;
  readonly #fault: Fault | undefined;

  constructor(at: number, fault: Fault | undefined) {
    this.#at = at;
    this.#fault = fault;
  }

  /** Of all streams of the agents there. */
  watch(fabric: MemoryFabric, reach: (step: Step) => Fault | undefined): void {
    fabric.faultAt = (stream, step) => {
      this.#streams.add(stream);
      return reach(step);
    };
  }

  reach(place: Place): Fault | undefined {
    return this.places.push(place) - 1 === this.#at ? this.#fault : undefined;
  }

  /** In the order in which they were first heard of. */
  get streams(): readonly MemoryStream[] {
    return [...this.#streams];
  }
  get open(): number {
    return this.streams.filter((stream) => stream.isOpen).length;
  }
}
