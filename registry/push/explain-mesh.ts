// The whole mesh for questions of operators: who is who by resources and grants, and who may call a workload as its host's agent
// would compile it from what that host is sent.
import type { MeshSettings } from "../../agent/api/session.ts";
import { hostIdentity } from "../../agent/api/spiffe.ts";
import { PortBook, SlotBook } from "../../agent/policy/books.ts";
import { compileWorkloadsOf } from "../../agent/policy/compile.ts";
import type { Directory } from "../../agent/policy/directory.ts";
import { SLOTS_MAX } from "./check-compiles.ts";
import type { MeshFacts } from "./mesh-facts.ts";
import type { Publication } from "./units.ts";

/** Of one version; hosts are compiled when they are asked for, once each. */
export function meshDirectory(publication: Publication, mesh: MeshSettings): Directory {
  const { facts, hosts, position } = publication;
  const { trustDomain } = mesh;
  const compiled = new Map<string, ReturnType<typeof compileWorkloadsOf>>();
  return {
    ...position,
    trustDomain,
    workloads: [...facts.workloads].map((one) => ({ ...one, hosts: one.declaredOn })),
    services: [...facts.services.values()],
    hosts: hosts.map(({ name, addresses }) => ({
      name,
      identity: hostIdentity(trustDomain, name),
      address: addresses[0],
    })),
    backing: (service) => backing(facts, service),
    compiled: (host, { namespace, name }) => {
      const known = compiled.get(host) ?? compileFor(publication, mesh, host);
      compiled.set(host, known);
      const workload = known.workloads.find(
        (one) => one.namespace === namespace && one.name === name,
      );
      return workload && { workload, services: known.services };
    },
  };
}

function backing(facts: MeshFacts, service: string): Set<string> {
  const names = new Set<string>();
  for (const { hasAgent, namespace, workload } of facts.endpointsOf(service))
    if (hasAgent) names.add(`${namespace}/${workload}`);
  for (const { namespace, name, services } of facts.workloads)
    if (services.includes(service)) names.add(`${namespace}/${name}`);
  return names;
}

const compileFor = (publication: Publication, mesh: MeshSettings, name: string) =>
  compileWorkloadsOf({
    ...publication.position,
    mesh,
    host: {
      name,
      addresses: publication.hosts.find((host) => host.name === name)?.addresses ?? [],
    },
    resources: publication.resourcesFor(name),
    services: [...publication.facts.services.values()],
    endpoints: publication.facts.endpoints,
    slots: new SlotBook(0, SLOTS_MAX).draft(),
    ports: new PortBook().draft(),
  });
