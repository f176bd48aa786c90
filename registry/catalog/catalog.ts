// Where the mesh's services and endpoints come from, behind an interface: Workload resources and the hosts that joined declare them;
// what another catalog knows (Consul; Mesos and files later) is found there, and only adds what nobody declared.

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

/** A service that another catalog knows. */
export interface DiscoveredService {
  /** A DNS label. */
  readonly name: string;
  readonly protocol: "HTTP" | "TCP" | "";
  readonly endpoints: readonly DiscoveredEndpoint[];
}

export interface DiscoveredEndpoint {
  readonly address: string;
  readonly port: number;
  readonly weight: number;
  readonly labels: { readonly [name: string]: string };
}

export interface CatalogInput {
  readonly resources: readonly ResourceDocument[];
  readonly hosts: readonly CatalogHost[];
  readonly reservations: readonly Reservation[];
  readonly discovered: readonly DiscoveredService[];
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
