// From the mesh's state to what each host is sent: units addressed by the SHA-256 of their canonical JSON, each with the
// hosts it concerns. Hashes are kept from one version to the next, so a change costs what changed.
import { createHash } from "node:crypto";
import { canonicalJson, readWorkload } from "../../agent/api/resource.ts";
import type { MeshSettings, ResourceDocument, Unit, UnitBody } from "../../agent/api/session.ts";
import type { CatalogView } from "../catalog/catalog.ts";
import type { HostRecord, MeshState, Position } from "../store/store.ts";
import { MeshFacts, NO_FACTS } from "./mesh-facts.ts";

/** Whom a unit concerns. Least privilege, and less to send; a host that lacks a unit never knows it exists. */
type Scope =
  | { readonly is: "all" }
  | { readonly is: "hosts"; readonly hosts: ReadonlySet<string> }
  /** Hosts with a workload in the namespace. */
  | { readonly is: "namespace"; readonly namespace: string };

interface ScopedUnit {
  readonly unit: Unit;
  readonly scope: Scope;
  readonly resource?: ResourceDocument;
}

/** Everything of one version, ready to be scoped to a host; `factsOf`: made when somebody asks. */
export class Publication {
  readonly position: Position;
  /** All that joined. */
  readonly hosts: readonly HostRecord[];
  readonly #units: readonly ScopedUnit[];
  readonly #namespacesOf: ReadonlyMap<string, ReadonlySet<string>>;
  readonly #factsOf: () => MeshFacts;
  #facts: MeshFacts | undefined;

  constructor(
    position: Position,
    units: readonly ScopedUnit[],
    namespacesOf: ReadonlyMap<string, ReadonlySet<string>>,
    hosts: readonly HostRecord[] = [],
    factsOf: () => MeshFacts = () => NO_FACTS,
  ) {
    this.position = position;
    this.hosts = hosts;
    this.#units = units;
    this.#namespacesOf = namespacesOf;
    this.#factsOf = factsOf;
  }

  get facts(): MeshFacts {
    this.#facts ??= this.#factsOf();
    return this.#facts;
  }

  get unitCount(): number {
    return this.#units.length;
  }

  /** In the order a manifest lists them. */
  unitsFor(host: string): Unit[] {
    return this.#scopedTo(host).map(({ unit }) => unit);
  }

  resourcesFor(host: string): ResourceDocument[] {
    return this.#scopedTo(host).flatMap(({ resource }) => (resource === undefined ? [] : resource));
  }

  #scopedTo(host: string): readonly ScopedUnit[] {
    const namespaces = this.#namespacesOf.get(host);
    return this.#units.filter(({ scope }) => concerns(scope, host, namespaces));
  }
}

function concerns(
  scope: Scope,
  host: string,
  namespaces: ReadonlySet<string> | undefined,
): boolean {
  switch (scope.is) {
    case "all":
      return true;
    case "hosts":
      return scope.hosts.has(host);
    case "namespace":
      return namespaces?.has(scope.namespace) ?? false;
  }
}

export class UnitBook {
  /** Canonical body -> unit, of the last publication only. */
  #known = new Map<string, Unit>();

  /** Pure but for the hashes it keeps. */
  publish(state: MeshState, catalog: CatalogView, mesh: MeshSettings): Publication {
    const known = new Map<string, Unit>();
    const unitOf = (body: UnitBody): Unit => {
      const text = canonicalJson(body);
      const unit = this.#known.get(text) ?? { hash: sha256Hex(text), body: text };
      known.set(text, unit);
      return unit;
    };
    const all: Scope = { is: "all" };
    const units: ScopedUnit[] = [{ unit: unitOf({ is: "mesh", mesh }), scope: all }];
    for (const { document } of state.resources) {
      units.push({
        unit: unitOf({ is: "resource", resource: document }),
        scope: scopeOf(document, mesh.rootNamespace),
        resource: document,
      });
    }
    for (const service of catalog.services) {
      units.push({ unit: unitOf({ is: "service", service }), scope: all });
      const endpoints = catalog.endpoints.get(service.host) ?? [];
      const body: UnitBody = { is: "endpoints", service: service.host, endpoints };
      units.push({ unit: unitOf(body), scope: all });
    }
    this.#known = known;
    const { epoch, version } = state;
    const facts = () => new MeshFacts(state, catalog, mesh.trustDomain);
    return new Publication({ epoch, version }, units, namespacesOf(state), state.hosts, facts);
  }
}

/** Routes and services concern every caller; who may call a workload concerns the hosts it can run on. */
export function scopeOf(document: ResourceDocument, rootNamespace: string): Scope {
  const { namespace } = document.metadata;
  switch (document.kind) {
    case "Workload":
      return { is: "hosts", hosts: new Set(readWorkload(document).hosts) };
    case "PeerAuthentication":
    case "AuthorizationPolicy":
    case "RateLimit":
      return namespace === rootNamespace ? { is: "all" } : { is: "namespace", namespace };
    default:
      return { is: "all" };
  }
}

function namespacesOf(state: MeshState): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const { document } of state.resources) {
    if (document.kind !== "Workload") continue;
    for (const host of readWorkload(document).hosts) {
      const namespaces = found.get(host) ?? new Set();
      found.set(host, namespaces.add(document.metadata.namespace));
    }
  }
  return found;
}

export const sha256Hex = (text: string): string => createHash("sha256").update(text).digest("hex");
