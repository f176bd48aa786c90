// Who is who as one host's agent knows it: its own workloads with all that holds for them, and of others what it dials.
import { hostIdentity } from "../api/spiffe.ts";
import type { Directory, KnownWorkload } from "./directory.ts";
import type { Snapshot } from "./snapshot.ts";

export function snapshotDirectory(snapshot: Snapshot): Directory {
  const { epoch, version, trustDomain, services, host } = snapshot;
  return {
    epoch,
    version,
    trustDomain,
    workloads: workloadsIn(snapshot),
    services,
    hosts: hostsIn(snapshot),
    backing: (service) => backing(snapshot, service),
    compiled: (on, { namespace, name }) => {
      const workload = snapshot.workloads.find(
        (one) => one.namespace === namespace && one.name === name,
      );
      return on === host.name && workload !== undefined ? { workload, services } : undefined;
    },
  };
}

function workloadsIn({ workloads, endpoints, host }: Snapshot): KnownWorkload[] {
  const found = new Map<string, { known: KnownWorkload; hosts: Set<string> }>();
  for (const { namespace, name, identity } of workloads) {
    const known = { namespace, name, identity, hosts: [] };
    found.set(`${namespace}/${name}`, { known, hosts: new Set([host.name]) });
  }
  for (const { workload: name, namespace, mesh, host: at } of endpoints) {
    if (mesh === undefined || name === "") continue;
    const key = `${namespace}/${name}`;
    const known = { namespace, name, identity: mesh.identity, hosts: [] };
    const entry = found.get(key) ?? { known, hosts: new Set<string>() };
    if (at !== undefined) entry.hosts.add(at);
    found.set(key, entry);
  }
  return [...found.values()].map(({ known, hosts }) => ({ ...known, hosts: [...hosts] }));
}

function hostsIn({ host, endpoints, trustDomain }: Snapshot): Directory["hosts"] {
  const addresses = new Map([[host.name, host.addresses[0]]]);
  for (const { host: name, address } of endpoints)
    if (name !== undefined && !addresses.has(name)) addresses.set(name, address);
  return [...addresses].map(([name, address]) => ({
    name,
    identity: hostIdentity(trustDomain, name),
    address,
  }));
}

/** By clusters, and by what workloads here back even while no endpoint of them is known. */
function backing(
  { services, clusters, endpoints, workloads }: Snapshot,
  host: string,
): Set<string> {
  const names = new Set<string>();
  const index = services.findIndex((one) => one.host === host);
  for (const cluster of clusters) {
    if (cluster.service !== index) continue;
    for (const at of cluster.endpoints) {
      const endpoint = endpoints[at];
      if (endpoint?.mesh !== undefined) names.add(`${endpoint.namespace}/${endpoint.workload}`);
    }
  }
  for (const { namespace, name, ports } of workloads)
    if (ports.some((port) => port.services.some(({ service }) => service === index)))
      names.add(`${namespace}/${name}`);
  return names;
}
