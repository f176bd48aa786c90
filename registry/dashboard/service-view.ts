// One service as the page shows it: where it runs, what shapes and guards its traffic, and who last changed any of that.
import type { EndpointView, ServiceView } from "../../agent/api/edges.ts";
import {
  readAuthorizationPolicy,
  readDestinationRule,
  readPeerAuthentication,
  readServiceEntry,
  readVirtualService,
  readWorkload,
  titleOf,
} from "../../agent/api/resource.ts";
import type { CatalogService, ResourceDocument } from "../../agent/api/session.ts";
import { HostBook, meshHost, wildcardHolds } from "../../agent/policy/hosts.ts";
import { labelsHold } from "../../agent/policy/labels.ts";
import type { MeshFacts } from "../push/mesh-facts.ts";
import type { AuditRecord } from "../store/store.ts";

const CHANGES_MAX = 10;

export interface ServiceQuestion {
  readonly host: string;
  readonly rootNamespace: string;
  readonly connectedHosts: readonly string[];
  /** Newest first. */
  readonly audit: readonly AuditRecord[];
}

/** Undefined: there is no such service. */
export function serviceView(facts: MeshFacts, question: ServiceQuestion): ServiceView | undefined {
  const service = facts.services.get(question.host);
  if (service === undefined) return undefined;
  const concerned = facts.resources.filter(concerning(service, facts, question.rootNamespace));
  const { host, name, namespace, vip4, vip6, ports } = service;
  return {
    host,
    name,
    namespace,
    addresses: [vip4, vip6],
    ports,
    endpoints: endpointsOf(service, facts, question.connectedHosts),
    policies: concerned.map((document) => ({
      kind: document.kind,
      title: `${document.metadata.namespace}/${document.metadata.name}`,
    })),
    changes: changesOf(service, concerned, question.audit),
  };
}

function endpointsOf(
  { host }: CatalogService,
  facts: MeshFacts,
  connected: readonly string[],
): EndpointView[] {
  return facts.endpointsOf(host).map((endpoint) => {
    const { address, workload, namespace, labels, hasAgent, ports } = endpoint;
    const at = address.includes(":") ? `[${address}]` : address;
    return {
      address: ports.map(({ targetPort }) => `${at}:${targetPort}`).join(", ") || address,
      host: endpoint.host,
      workload: `${namespace}/${workload}`,
      version: labels["version"],
      identity: hasAgent ? facts.workload(namespace, workload)?.identity : undefined,
      isConnected: hasAgent ? connected.includes(endpoint.host) : undefined,
    };
  });
}

/** Rules by the host they name, policies by the workloads they select; both as agents read them. */
function concerning(
  { host }: CatalogService,
  facts: MeshFacts,
  rootNamespace: string,
): (document: ResourceDocument) => boolean {
  const book = new HostBook([...facts.services.values()]);
  const names = (written: string, namespace: string): boolean => {
    const resolved = book.resolve(written, namespace);
    return resolved === host || wildcardHolds(resolved, host);
  };
  const backing = facts
    .endpointsOf(host)
    .flatMap(({ namespace, workload }) => facts.workload(namespace, workload) ?? []);
  const selects = (namespace: string, wanted: { readonly [name: string]: string }): boolean =>
    backing.some(
      (one) =>
        (namespace === rootNamespace || namespace === one.namespace) &&
        labelsHold(wanted, one.labels),
    );
  return (document) => {
    const { namespace } = document.metadata;
    switch (document.kind) {
      case "Workload":
        return (readWorkload(document).services ?? []).some(
          (service) => meshHost(service.name, namespace) === host,
        );
      case "VirtualService":
        return (readVirtualService(document).hosts ?? []).some((one) => names(one, namespace));
      case "DestinationRule":
        return names(readDestinationRule(document).host, namespace);
      case "ServiceEntry":
        return readServiceEntry(document).hosts.some((one) => names(one, namespace));
      case "AuthorizationPolicy":
        return selects(namespace, readAuthorizationPolicy(document).selector?.matchLabels ?? {});
      case "PeerAuthentication":
        return selects(namespace, readPeerAuthentication(document).selector?.matchLabels ?? {});
      default:
        return false;
    }
  };
}

/** What is deleted concerns nothing any more: a rule of the service's own name is still told. */
function changesOf(
  { name, namespace }: CatalogService,
  concerned: readonly ResourceDocument[],
  audit: readonly AuditRecord[],
): ServiceView["changes"] {
  const titles = new Set(concerned.map(titleOf));
  for (const kind of ["VirtualService", "DestinationRule", "Workload"])
    titles.add(`${kind} ${namespace}/${name}`);
  return audit
    .filter(({ what }) => titles.has(what.slice(what.indexOf(" ") + 1)))
    .slice(0, CHANGES_MAX)
    .map(({ version, atMs, who, what }) => ({ version, atMs, who, what }));
}
