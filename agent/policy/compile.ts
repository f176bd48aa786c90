// Sources in, snapshot out: Istio's semantics of every kind we run are decided here, so that the data path only looks up.
// Pure and total: any input gives a snapshot. What is wrong is in `problems`; one of severity `error` means that the snapshot is
// not to be run, and what it touches fails closed all the same.

import type {
  CatalogEndpoint,
  CatalogService,
  MeshSettings,
  ResourceDocument,
} from "../api/session.ts";
import { hostIdentity, SYSTEM_NAMESPACE } from "../api/spiffe.ts";
import type { Problem } from "../base/result.ts";
import { canonicalAddress } from "./address-block.ts";
import type { PortDraft, SlotDraft } from "./books.ts";
import { Clusters } from "./clusters.ts";
import { DestinationRules } from "./destination-rules.ts";
import { dnsNames, HostBook, meshHost } from "./hosts.ts";
import { PeerAuthentications } from "./peer-authentication.ts";
import { isPublicTopLevel } from "./public-top-level.ts";
import { Routes } from "./routes.ts";
import { collectServices, type PortSource, type ServiceSource } from "./services.ts";
import type { PortView, Service, ServicePort, Snapshot } from "./snapshot.ts";
import { ProblemList, type Sources, sortSources } from "./sources.ts";
import { compileWorkloads, localWorkloads } from "./workloads.ts";

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

/** The part of a compile that says who may call this host's workloads: without routes, clusters and endpoints, so a fraction of its
 *  cost in a large mesh. Ports' `services` count in the list beside them. */
export function compileWorkloadsOf(
  input: CompileInput,
): Pick<Snapshot, "workloads"> & { readonly services: readonly Pick<Service, "host">[] } {
  const problems = new ProblemList();
  const sources = sortSources(input.resources, problems);
  const services = collectServices(input, sources, problems);
  const { rootNamespace } = input.mesh;
  const workloads = compileWorkloads({
    ...input,
    host: canonicalHost(input.host),
    sources,
    hosts: new HostBook(services),
    peerAuthentications: new PeerAuthentications(
      sources.PeerAuthentication,
      rootNamespace,
      problems,
    ),
    problems,
  });
  return { workloads, services };
}

/** Clients that are no workload of this host. No DestinationRule of theirs exists, so they see what everybody sees. */
const COMMON_NAMESPACE = SYSTEM_NAMESPACE;

export function compile(input: CompileInput): Compiled {
  const problems = new ProblemList();
  const sources = sortSources(input.resources, problems);
  const services = collectServices(input, sources, problems);
  const hosts = new HostBook(services);
  const { rootNamespace, trustDomain } = input.mesh;
  const peerAuthentications = new PeerAuthentications(
    sources.PeerAuthentication,
    rootNamespace,
    problems,
  );
  const rules = new DestinationRules(sources.DestinationRule, hosts, rootNamespace, problems);
  const clusters = new Clusters({
    services,
    rules,
    peerAuthentications,
    trustDomain,
    commonNamespace: COMMON_NAMESPACE,
    slots: input.slots,
    problems,
  });
  // Before any route asks: so the endpoints that direct dials find are those of whole services, not of some subset's policy.
  services.forEach(({ ports }, service) => {
    for (const { port } of ports)
      clusters.find({ service, port, subset: undefined, clientNamespace: COMMON_NAMESPACE });
  });
  const routes = new Routes(sources.VirtualService, { services, hosts, clusters, problems });
  const host = canonicalHost(input.host);
  const namespaces = clientNamespaces(input.host.name, sources);
  tellPublicNames(services, problems);
  const overriding = namespaces.filter((namespace) => rules.overridesFor(namespace, services));
  const compiledServices = compileServices(services, namespaces, (service, port) =>
    portViews({ service, port, overriding, routes, clusters }),
  );
  return {
    snapshot: {
      epoch: input.epoch,
      version: input.version,
      trustDomain,
      host: { ...host, identity: hostIdentity(trustDomain, host.name) },
      workloads: compileWorkloads({
        host,
        sources,
        hosts,
        peerAuthentications,
        mesh: input.mesh,
        ports: input.ports,
        slots: input.slots,
        problems,
      }),
      services: compiledServices,
      clusters: clusters.clusters,
      endpoints: clusters.endpoints,
      outboundPolicy: input.mesh.outboundPolicy,
    },
    problems: problems.all,
  };
}

const canonicalHost = ({ name, addresses }: CompileInput["host"]): CompileInput["host"] => ({
  name,
  addresses: addresses.map((text) => canonicalAddress(text) ?? text),
});

const clientNamespaces = (host: string, sources: Sources): readonly string[] =>
  [...new Set(localWorkloads(host, sources).map(({ namespace }) => namespace))].sort();

function tellPublicNames(services: readonly ServiceSource[], problems: ProblemList): void {
  for (const { host, name, namespace } of services)
    if (host === meshHost(name, namespace) && isPublicTopLevel(namespace))
      problems.warn(
        `Namespace ${namespace}`,
        "",
        `is also a public top-level domain: its services answer only as NAME.${namespace}.mesh`,
      );
}

function compileServices(
  services: readonly ServiceSource[],
  namespaces: readonly string[],
  viewsOf: (service: number, port: PortSource) => Views,
): Service[] {
  const names = dnsNames(services, namespaces);
  return services.map((source, i) => ({
    host: source.host,
    name: source.name,
    namespace: source.namespace,
    names: names[i] ?? [source.host],
    vip4: source.vip4,
    vip6: source.vip6,
    ...(source.addresses.length === 0 ? {} : { addresses: source.addresses }),
    isExternal: source.isExternal,
    ports: source.ports.map((port) => compilePort(port, viewsOf(i, port))),
  }));
}

interface Views {
  readonly common: PortView;
  readonly own: readonly (readonly [namespace: string, view: PortView])[];
}

const compilePort = (
  { port, name, protocol, speaks, isTls }: PortSource,
  { common, own }: Views,
): ServicePort => ({
  port,
  name,
  protocol,
  ...(speaks === undefined ? {} : { speaks }),
  ...(isTls === undefined ? {} : { isTls }),
  ...common,
  ...(own.length === 0 ? {} : { inNamespace: Object.fromEntries(own) }),
});

const NO_VIEW: PortView = { httpRoutes: [], tcpRoutes: [], cluster: -1 };

/** A namespace gets a view of its own only where one of its DestinationRules changes a cluster that the port's routes name. */
function portViews(asked: {
  readonly service: number;
  readonly port: PortSource;
  readonly overriding: readonly string[];
  readonly routes: Routes;
  readonly clusters: Clusters;
}): Views {
  const { service, port, routes, clusters } = asked;
  const common = routes.compilePort(service, port, COMMON_NAMESPACE) ?? NO_VIEW;
  const own: [string, PortView][] = [];
  for (const namespace of asked.overriding) {
    const before = clusters.ownViews;
    const view = routes.compilePort(service, port, namespace);
    if (view !== undefined && clusters.ownViews > before) own.push([namespace, view]);
  }
  return { common, own };
}
