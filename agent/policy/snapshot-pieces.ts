// A snapshot in pieces, for the way to a worker thread. Structured clone of a whole one stops the receiving thread for as long as
// it takes (100 ms and more with 5,000 services); a piece takes a millisecond or two, and traffic flows between pieces.
import type { Cluster, Endpoint, Service, Snapshot } from "./snapshot.ts";

/** Sent in order over an ordered channel. The first has the head; a small snapshot is one piece. */
export interface SnapshotPiece {
  readonly head?: SnapshotHead;
  readonly services: readonly Service[];
  readonly clusters: readonly Cluster[];
  readonly endpoints: readonly Endpoint[];
  readonly isLast: boolean;
}

export type SnapshotHead = Omit<Snapshot, "services" | "clusters" | "endpoints">;

/** Services, clusters and endpoints in one piece. */
export const PIECE_ITEMS_MAX = 128;

export function* splitSnapshot(
  snapshot: Snapshot,
  itemsMax = PIECE_ITEMS_MAX,
): Generator<SnapshotPiece> {
  const { services, clusters, endpoints, ...head } = snapshot;
  const count = services.length + clusters.length + endpoints.length;
  for (let at = 0; at === 0 || at < count; at += itemsMax) {
    const clustersAt = at - services.length;
    const endpointsAt = clustersAt - clusters.length;
    yield {
      ...(at === 0 ? { head } : {}),
      services: part(services, at, itemsMax),
      clusters: part(clusters, clustersAt, itemsMax),
      endpoints: part(endpoints, endpointsAt, itemsMax),
      isLast: at + itemsMax >= count,
    };
  }
}

const part = <T>(items: readonly T[], at: number, count: number): readonly T[] =>
  items.slice(Math.max(0, at), Math.max(0, at + count));

/** Puts pieces together again. A new beginning drops what was under way. */
export class SnapshotAssembly {
  #head: SnapshotHead | undefined;
  #services: Service[] = [];
  #clusters: Cluster[] = [];
  #endpoints: Endpoint[] = [];

  /** The whole snapshot, once its last piece came. */
  add({ head, services, clusters, endpoints, isLast }: SnapshotPiece): Snapshot | undefined {
    if (head !== undefined) this.#reset(head);
    this.#services.push(...services);
    this.#clusters.push(...clusters);
    this.#endpoints.push(...endpoints);
    return isLast ? this.#finish() : undefined;
  }

  #reset(head: SnapshotHead | undefined): void {
    this.#head = head;
    this.#services = [];
    this.#clusters = [];
    this.#endpoints = [];
  }

  #finish(): Snapshot | undefined {
    if (this.#head === undefined) return undefined;
    const whole = {
      ...this.#head,
      services: this.#services,
      clusters: this.#clusters,
      endpoints: this.#endpoints,
    };
    this.#reset(undefined);
    return whole;
  }
}
