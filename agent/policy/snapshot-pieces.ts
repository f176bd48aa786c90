// A snapshot in pieces, for the way to a worker thread. Structured clone of a whole one stops the receiving thread for as long as
// it takes (100 ms and more with 5,000 services); a piece takes a millisecond or two, and traffic flows between pieces.
import { unreachable } from "../base/assert.ts";
import type { Cluster, Endpoint, Service, Snapshot } from "./snapshot.ts";

/** Sent in order over an ordered channel. */
export type SnapshotPiece =
  | { readonly is: "begin"; readonly head: SnapshotHead }
  | { readonly is: "services"; readonly services: readonly Service[] }
  | { readonly is: "clusters"; readonly clusters: readonly Cluster[] }
  | { readonly is: "endpoints"; readonly endpoints: readonly Endpoint[] }
  | { readonly is: "end" };

export type SnapshotHead = Omit<Snapshot, "services" | "clusters" | "endpoints">;

/** Services, clusters or endpoints in one piece. */
export const PIECE_ITEMS_MAX = 128;

export function* splitSnapshot(snapshot: Snapshot): Generator<SnapshotPiece> {
  const { services, clusters, endpoints, ...head } = snapshot;
  yield { is: "begin", head };
  for (const part of parts(services)) yield { is: "services", services: part };
  for (const part of parts(clusters)) yield { is: "clusters", clusters: part };
  for (const part of parts(endpoints)) yield { is: "endpoints", endpoints: part };
  yield { is: "end" };
}

function* parts<T>(items: readonly T[]): Generator<readonly T[]> {
  for (let at = 0; at < items.length; at += PIECE_ITEMS_MAX)
    yield items.slice(at, at + PIECE_ITEMS_MAX);
}

/** Puts pieces together again. A new beginning drops what was under way. */
export class SnapshotAssembly {
  #head: SnapshotHead | undefined;
  #services: Service[] = [];
  #clusters: Cluster[] = [];
  #endpoints: Endpoint[] = [];

  /** The whole snapshot, once its last piece came. */
  add(piece: SnapshotPiece): Snapshot | undefined {
    switch (piece.is) {
      case "begin":
        this.#reset(piece.head);
        return undefined;
      case "services":
        this.#services.push(...piece.services);
        return undefined;
      case "clusters":
        this.#clusters.push(...piece.clusters);
        return undefined;
      case "endpoints":
        this.#endpoints.push(...piece.endpoints);
        return undefined;
      case "end":
        return this.#finish();
      default:
        return unreachable(piece);
    }
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
