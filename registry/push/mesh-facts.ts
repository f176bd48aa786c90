// What the server itself knows of one version of the mesh, looked up by name: whose word on traffic counts, and what a name on
// a graph stands for. Made from resources and grants only; nothing here comes from what a host says.
import { readWorkload } from "../../agent/api/resource.ts";
import type { CatalogEndpoint, CatalogService, ResourceDocument } from "../../agent/api/session.ts";
import { hostIdentity, spiffeIdOf } from "../../agent/api/spiffe.ts";
import type { CatalogView } from "../catalog/catalog.ts";
import type { MeshState } from "../store/store.ts";

export interface WorkloadFacts {
  readonly name: string;
  readonly namespace: string;
  readonly identity: string;
  readonly labels: { readonly [name: string]: string };
  readonly declaredOn: readonly string[];
  /** Those of them whose grant holds its account. */
  readonly hosts: ReadonlySet<string>;
  /** Canonical hosts, sorted. */
  readonly services: readonly string[];
}

export class MeshFacts {
  readonly resources: readonly ResourceDocument[];
  readonly services: ReadonlyMap<string, CatalogService>;
  readonly #endpoints: ReadonlyMap<string, readonly CatalogEndpoint[]>;
  readonly #workloads = new Map<string, WorkloadFacts>();
  readonly #byIdentity = new Map<string, WorkloadFacts[]>();
  readonly #hostByIdentity = new Map<string, string>();

  constructor(
    { resources, hosts }: Pick<MeshState, "resources" | "hosts">,
    catalog: Pick<CatalogView, "services" | "endpoints">,
    trustDomain: string,
  ) {
    this.resources = resources.map(({ document }) => document);
    this.services = new Map(catalog.services.map((service) => [service.host, service]));
    this.#endpoints = catalog.endpoints;
    const grants = new Map(hosts.map(({ name, serviceAccounts }) => [name, serviceAccounts]));
    for (const name of grants.keys())
      this.#hostByIdentity.set(hostIdentity(trustDomain, name), name);
    for (const document of this.resources) {
      if (document.kind !== "Workload") continue;
      const facts = workloadFacts(document, grants, trustDomain);
      this.#workloads.set(`${facts.namespace}/${facts.name}`, facts);
      const alike = this.#byIdentity.get(facts.identity);
      if (alike === undefined) this.#byIdentity.set(facts.identity, [facts]);
      else alike.push(facts);
    }
  }

  workload(namespace: string, name: string): WorkloadFacts | undefined {
    return this.#workloads.get(`${namespace}/${name}`);
  }
  /** Several workloads may share a service account. */
  workloadsOf(identity: string): readonly WorkloadFacts[] {
    return this.#byIdentity.get(identity) ?? [];
  }
  /** The member host whose own identity it is. */
  hostOf(identity: string): string | undefined {
    return this.#hostByIdentity.get(identity);
  }
  get hostCount(): number {
    return this.#hostByIdentity.size;
  }
  /** By the service's host. */
  get endpoints(): ReadonlyMap<string, readonly CatalogEndpoint[]> {
    return this.#endpoints;
  }
  get workloads(): IterableIterator<WorkloadFacts> {
    return this.#workloads.values();
  }
  endpointsOf(service: string): readonly CatalogEndpoint[] {
    return this.#endpoints.get(service) ?? [];
  }
}

/** Before the first version: nobody is anybody. */
export const NO_FACTS = new MeshFacts(
  { resources: [], hosts: [] },
  { services: [], endpoints: new Map() },
  "",
);

function workloadFacts(
  document: ResourceDocument,
  grants: ReadonlyMap<string, readonly string[]>,
  trustDomain: string,
): WorkloadFacts {
  const { name, namespace, labels = {} } = document.metadata;
  const { serviceAccount, hosts, services = [] } = readWorkload(document);
  const account = `${namespace}/${serviceAccount}`;
  return {
    name,
    namespace,
    identity: spiffeIdOf({ trustDomain, namespace, serviceAccount }),
    labels,
    declaredOn: hosts,
    hosts: new Set(hosts.filter((host) => grants.get(host)?.includes(account))),
    services: services.map((service) => `${service.name}.${namespace}.mesh`).sort(),
  };
}
