// Services of another catalog in the mesh's view: each that nobody declared becomes NAME in the namespace `default`, so that it is
// called NAME and NAME.service.consul with nothing declared again. Who may be behind a name stays the operator's word:
// - an instance at a port that a Workload declares is that workload, dialled by mesh under the identity the resource gives it;
// - any other instance is dialled in plaintext, and only under a name that no resource declares. What a catalog says of a declared
//   service adds nothing to it.
import type { CatalogEndpoint } from "../../agent/api/session.ts";
import type { CatalogHost, DiscoveredEndpoint, DiscoveredService } from "./catalog.ts";
import { type Draft, type Gathered, serviceHostOf } from "./draft.ts";

const NAMESPACE = "default";
/** Means each instance at whatever port it has, so that callers need not know it. */
const ANY_PORT = 80;
/** Ports of one service that can be meant by number. */
export const DISCOVERED_PORTS_MAX = 32;

interface Declared {
  readonly endpoint: CatalogEndpoint;
  readonly service: string;
}

export function addDiscovered(
  { drafts, warnings }: Gathered,
  discovered: readonly DiscoveredService[],
  hosts: readonly CatalogHost[],
): void {
  if (discovered.length === 0) return;
  const declared = declaredAddresses(drafts.values(), hosts);
  for (const service of discovered) {
    const host = serviceHostOf(service.name, NAMESPACE);
    const known = drafts.get(host) ?? drafts.get(`${service.name}.service.consul`);
    if (known === undefined) drafts.set(host, draftOf(host, service, declared));
    else {
      const strangers = service.endpoints.filter((one) => !declared.has(keyOf(one)));
      if (strangers.length === 0) continue;
      const some = strangers.slice(0, 3).map(({ address, port }) => `${address}:${port}`);
      warnings.push({
        document: `Consul service ${service.name}`,
        path: "",
        reason: `has ${strangers.length} instances (${some.join(", ")}) that are no Workload's, and ${known.host} is declared: they get no traffic; declare them by a Workload, or by a ServiceEntry of another host`,
        severity: "warning",
      });
    }
  }
}

/** Where each declared port of each workload is, on all addresses its host is known by. */
function declaredAddresses(
  drafts: Iterable<Draft>,
  hosts: readonly CatalogHost[],
): ReadonlyMap<string, Declared> {
  const addressesOf = new Map(hosts.map(({ name, addresses }) => [name, addresses]));
  const found = new Map<string, Declared>();
  for (const { name, endpoints } of drafts) {
    for (const endpoint of endpoints) {
      const addresses = new Set([endpoint.address, ...(addressesOf.get(endpoint.host) ?? [])]);
      for (const address of addresses)
        for (const { targetPort: port } of endpoint.ports)
          found.set(keyOf({ address, port }), { endpoint, service: name });
    }
  }
  return found;
}

function draftOf(
  host: string,
  service: DiscoveredService,
  declared: ReadonlyMap<string, Declared>,
): Draft {
  const { name, protocol } = service;
  const numbers = [...new Set(service.endpoints.map(({ port }) => port))].sort((a, b) => a - b);
  const ports = new Map(
    [...new Set([ANY_PORT, ...numbers.slice(0, DISCOVERED_PORTS_MAX)])].map((port) => [
      port,
      { port, name: "", protocol, from: `Consul service ${name}` },
    ]),
  );
  return {
    host,
    name,
    namespace: NAMESPACE,
    ports,
    endpoints: service.endpoints.map((one) => endpointOf(one, declared.get(keyOf(one)))),
  };
}

function endpointOf(found: DiscoveredEndpoint, declared: Declared | undefined): CatalogEndpoint {
  const { address, port, weight, labels } = found;
  const targets = [...new Set([ANY_PORT, port])].map((asked) => ({
    port: asked,
    targetPort: port,
  }));
  if (declared !== undefined)
    return { ...declared.endpoint, ports: targets, calledAs: declared.service };
  return {
    address,
    host: "",
    workload: "",
    namespace: NAMESPACE,
    serviceAccount: "",
    labels,
    weight,
    ports: targets,
    hasAgent: false,
  };
}

const keyOf = ({ address, port }: { readonly address: string; readonly port: number }): string =>
  `${address} ${port}`;
