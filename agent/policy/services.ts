// Services and their endpoints as the rest of the compiler sees them: the catalog's, and what ServiceEntries add.

import type { ServiceEntrySpec } from "../api/service-entry.ts";
import type { CatalogEndpoint, CatalogService } from "../api/session.ts";
import { canonicalAddress } from "./address-block.ts";
import { meshHost } from "./hosts.ts";
import { labelsHold } from "./labels.ts";
import { portProtocol } from "./port-protocol.ts";
import type { Protocol } from "./snapshot.ts";
import type { ProblemList, Rule, Sources } from "./sources.ts";

export interface ServiceSource {
  readonly host: string;
  readonly name: string;
  readonly namespace: string;
  readonly vip4: string | undefined;
  readonly vip6: string | undefined;
  readonly addresses: readonly string[];
  readonly isExternal: boolean;
  /** A ServiceEntry of resolution NONE, and nothing else: it is wherever its client was going. */
  readonly isOriginalDst: boolean;
  readonly ports: readonly PortSource[];
  readonly endpoints: readonly EndpointSource[];
}

/** `lookup`: the address is a host name. */
export type EndpointSource = CatalogEndpoint & { readonly lookup?: Lookup };
/** All addresses of the name, or the first alone. */
export type Lookup = "all" | "first";

export interface PortSource {
  readonly port: number;
  readonly name: string;
  readonly protocol: Protocol;
  readonly speaks?: "http2";
  readonly isTls?: true;
}

type Entry = Rule<ServiceEntrySpec>;
type Catalog = {
  readonly services: readonly CatalogService[];
  readonly endpoints: ReadonlyMap<string, readonly CatalogEndpoint[]>;
};

export function collectServices(
  catalog: Catalog,
  sources: Sources,
  problems: ProblemList,
): ServiceSource[] {
  const entries = entriesByHost(sources.ServiceEntry, problems);
  const found = new Map<string, ServiceSource>();
  const described = [...catalog.services, ...undeclared(catalog.services, sources)];
  for (const service of described) {
    const host = canonicalHost(service.host);
    if (found.has(host)) continue;
    const entry = entries.get(host);
    const listed = catalog.endpoints.get(service.host) ?? [];
    const own =
      entry === undefined ? [] : entryEndpoints(entry, host, { catalog, sources, problems });
    found.set(host, {
      host,
      name: service.name,
      namespace: service.namespace,
      vip4: service.vip4 || undefined,
      vip6: service.vip6 ? canonicalAddress(service.vip6) : undefined,
      addresses: entry === undefined ? [] : entryAddresses(entry, problems),
      isExternal: entry !== undefined && entry.spec.location !== "MESH_INTERNAL",
      isOriginalDst:
        entry !== undefined && (entry.spec.resolution ?? "NONE") === "NONE" && listed.length === 0,
      ports: service.ports.map(readPort),
      endpoints: [...listed, ...own],
    });
  }
  return [...found.values()];
}

const readPort = ({ port, name, protocol }: CatalogService["ports"][number]): PortSource => ({
  port,
  name,
  ...portProtocol(protocol, name, port),
});

const canonicalHost = (written: string): string => written.toLowerCase().replace(/\.$/, "");

/** The first entry by name that names the host. */
function entriesByHost(entries: readonly Entry[], problems: ProblemList): Map<string, Entry> {
  const byHost = new Map<string, Entry>();
  for (const entry of entries) {
    entry.spec.hosts.forEach((written, i) => {
      const host = canonicalHost(written);
      const other = byHost.get(host);
      if (other === undefined) byHost.set(host, entry);
      else
        problems.warn(
          entry.title,
          `spec.hosts[${i}]`,
          `is already declared by ${other.title}, which wins by its name`,
        );
    });
  }
  return byHost;
}

/** Services that resources describe and the catalog does not have (yet): known to rules, without virtual addresses. */
function undeclared(known: readonly CatalogService[], sources: Sources): CatalogService[] {
  const hosts = new Set(known.map((s) => canonicalHost(s.host)));
  const added = new Map<string, CatalogService>();
  for (const { namespace, spec } of sources.ServiceEntry) {
    for (const host of spec.hosts.map(canonicalHost)) {
      if (hosts.has(host) || added.has(host)) continue;
      const ports = spec.ports.map((p) => ({
        port: p.number,
        name: p.name,
        protocol: p.protocol ?? "",
      }));
      added.set(host, { host, name: host, namespace, vip4: "", vip6: "", ports });
    }
  }
  for (const { namespace, spec } of sources.Workload) {
    for (const { name, ports } of spec.services ?? []) {
      const host = meshHost(name, namespace);
      if (hosts.has(host)) continue;
      const before = added.get(host)?.ports ?? [];
      const more = ports
        .filter((p) => !before.some((q) => q.port === p.port))
        .map((p) => ({ port: p.port, name: p.name ?? "", protocol: p.protocol ?? "" }));
      added.set(host, { host, name, namespace, vip4: "", vip6: "", ports: [...before, ...more] });
    }
  }
  return [...added.values()];
}

/** A service's own addresses are looked up whole, so blocks cannot mean it. */
function entryAddresses({ title, spec }: Entry, problems: ProblemList): string[] {
  const addresses: string[] = [];
  spec.addresses?.forEach((text, i) => {
    const address = canonicalAddress(text.replace(/\/(?:32|128)$/, ""));
    if (address !== undefined) addresses.push(address);
    else
      problems.error(
        title,
        `spec.addresses[${i}]`,
        "is not supported yet: a block of addresses; write single addresses",
      );
  });
  return addresses;
}

function entryEndpoints(
  entry: Entry,
  host: string,
  known: {
    readonly catalog: Catalog;
    readonly sources: Sources;
    readonly problems: ProblemList;
  },
): EndpointSource[] {
  const { namespace, spec } = entry;
  const lookup = LOOKUPS.get(spec.resolution ?? "NONE");
  if (spec.resolution !== "STATIC" && lookup === undefined) return [];
  const own = (spec.endpoints ?? []).map((endpoint) => entryEndpoint(spec, namespace, endpoint));
  const wanted = spec.workloadSelector?.labels;
  const selected =
    wanted === undefined
      ? []
      : [
          ...selectedMachines(spec, namespace, wanted, known.sources),
          ...selectedWorkloads(spec, namespace, wanted, known.catalog),
        ];
  // Without any the service's own name is what is looked up, as in Istio; but nobody could look up a wildcard.
  const isByHost = wanted === undefined && own.length === 0 && !host.startsWith("*.");
  const all =
    isByHost && lookup !== undefined
      ? [entryEndpoint(spec, namespace, { address: host })]
      : [...own, ...selected];
  return all.flatMap((endpoint) => whereIs(endpoint, lookup, entry, known.problems));
}

const LOOKUPS: ReadonlyMap<string, Lookup> = new Map([
  ["DNS", "all"],
  ["DNS_ROUND_ROBIN", "first"],
]);

/** A name is looked up, or it leads nowhere. */
function whereIs(
  endpoint: CatalogEndpoint,
  lookup: Lookup | undefined,
  { title }: Entry,
  problems: ProblemList,
): EndpointSource[] {
  if (canonicalAddress(endpoint.address) !== undefined) return [endpoint];
  const address = canonicalHost(endpoint.address);
  const leaveOut = (why: string): [] => {
    problems.warn(title, "spec", `leaves out endpoint ${address}: ${why}`);
    return [];
  };
  if (lookup === undefined)
    return leaveOut("it is a host name, and only resolution DNS looks names up");
  if (address.endsWith(".mesh"))
    return leaveOut("it is a name of the mesh, which no resolver of a host knows");
  return [{ ...endpoint, address, lookup }];
}

function selectedMachines(
  spec: ServiceEntrySpec,
  namespace: string,
  wanted: { readonly [name: string]: string },
  sources: Sources,
): CatalogEndpoint[] {
  return sources.WorkloadEntry.filter((entry) => entry.namespace === namespace)
    .map((entry) => ({
      name: entry.name,
      spec: { ...entry.spec, labels: { ...entry.labels, ...entry.spec.labels } },
    }))
    .filter((entry) => labelsHold(wanted, entry.spec.labels))
    .map((entry) => entryEndpoint(spec, namespace, entry.spec, entry.name));
}

type EndpointSpec = NonNullable<ServiceEntrySpec["endpoints"]>[number];

const entryEndpoint = (
  service: ServiceEntrySpec,
  namespace: string,
  endpoint: EndpointSpec,
  workload = "",
): CatalogEndpoint => ({
  address: endpoint.address,
  host: "",
  workload,
  namespace,
  serviceAccount: endpoint.serviceAccount ?? "",
  labels: endpoint.labels ?? {},
  weight: endpoint.weight ?? 1,
  ports: service.ports.map((p) => ({
    port: p.number,
    // Not plain indexing: a port may be called `constructor`.
    targetPort:
      new Map(Object.entries(endpoint.ports ?? {})).get(p.name) ?? p.targetPort ?? p.number,
  })),
  hasAgent: false,
});

/** Workloads of ours that a ServiceEntry picks: found by where they run already, dialled at the entry's ports. */
function selectedWorkloads(
  spec: ServiceEntrySpec,
  namespace: string,
  wanted: { readonly [name: string]: string },
  catalog: Catalog,
): CatalogEndpoint[] {
  const found = new Map<string, CatalogEndpoint>();
  for (const endpoints of catalog.endpoints.values())
    for (const endpoint of endpoints) {
      if (endpoint.namespace !== namespace || endpoint.workload === "") continue;
      if (!labelsHold(wanted, endpoint.labels)) continue;
      const ports = spec.ports.map((p) => ({
        port: p.number,
        targetPort: p.targetPort ?? p.number,
      }));
      found.set(`${endpoint.workload} ${endpoint.address}`, { ...endpoint, ports });
    }
  return [...found.values()];
}
