// Where the mesh's services and endpoints come from, behind an interface: the embedded catalog derives them from Workload
// resources and the hosts that joined; Consul, Mesos and files are further sources later.

import type { CatalogEndpoint, CatalogService, ResourceDocument } from "../../agent/api/session.ts";
import type { Problem, Result } from "../../agent/base/result.ts";
import type { Reservation } from "./virtual-addresses.ts";

/** A host that joined, and what its token granted it. */
export interface CatalogHost {
  readonly name: string;
  /** `NAMESPACE/ACCOUNT` */
  readonly serviceAccounts: readonly string[];
  readonly addresses: readonly string[];
}

export interface CatalogInput {
  readonly resources: readonly ResourceDocument[];
  readonly hosts: readonly CatalogHost[];
  readonly reservations: readonly Reservation[];
  readonly nowMs: number;
}

export interface CatalogView {
  /** Sorted by host. */
  readonly services: readonly CatalogService[];
  /** By the service's host; a service without endpoints has an empty list. */
  readonly endpoints: ReadonlyMap<string, readonly CatalogEndpoint[]>;
  /** Virtual addresses that changed hands: to be stored with the change that caused it. */
  readonly reservationsChanged: readonly Reservation[];
  /** Warnings: what is declared and has no effect yet, and why. */
  readonly warnings: readonly Problem[];
}

export interface Catalog {
  /** An error refuses the change that led here: it names the resources that contradict each other. */
  view(input: CatalogInput): Result<CatalogView, readonly Problem[]>;
}
