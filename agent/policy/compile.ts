// Sources in, snapshot out: Istio's semantics of every kind we run are decided here, so that the data path only looks up.
// Pure and total: any input gives a snapshot; what is wrong is in `problems`, and what a problem of severity `error` touches
// fails closed (503 NC, nobody admitted) should the snapshot be run all the same.

import type {
  CatalogEndpoint,
  CatalogService,
  MeshSettings,
  ResourceDocument,
} from "../api/session.ts";
import type { Problem } from "../base/result.ts";
import type { PortDraft, SlotDraft } from "./books.ts";
import type { Snapshot } from "./snapshot.ts";

export interface CompileInput {
  readonly epoch: number;
  readonly version: number;
  readonly mesh: MeshSettings;
  /** The host that will run the snapshot. */
  readonly host: { readonly name: string; readonly addresses: readonly string[] };
  readonly resources: readonly ResourceDocument[];
  readonly services: readonly CatalogService[];
  /** By the service's host. */
  readonly endpoints: ReadonlyMap<string, readonly CatalogEndpoint[]>;
  /** From SlotBook.draft() and PortBook.draft(); adopt both when the snapshot goes live. */
  readonly slots: SlotDraft;
  readonly ports: PortDraft;
}

export interface Compiled {
  readonly snapshot: Snapshot;
  readonly problems: readonly Problem[];
}

export function compile(input: CompileInput): Compiled {
  return {
    snapshot: {
      epoch: input.epoch,
      version: input.version,
      trustDomain: input.mesh.trustDomain,
      host: { name: input.host.name, identity: "", addresses: input.host.addresses },
      workloads: [],
      services: [],
      clusters: [],
      endpoints: [],
      outboundPolicy: input.mesh.outboundPolicy,
    },
    problems: [],
  };
}
