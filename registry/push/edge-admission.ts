// Whether a host may say what it says of traffic. A host stands at one end of an edge, and that end must be a workload of its own
// or the host itself, under the identity the server gives it; the other end must be somebody the mesh knows.
import { type EdgeEnd, type EdgeSample, UNKNOWN } from "../../agent/api/edges.ts";
import type { MeshFacts } from "./mesh-facts.ts";

export type EdgeRefusal =
  /** The end it claims to stand at is not its own. */
  | "not_its_workload"
  | "unknown_service"
  /** It says what arrived at a service that its workload does not back. */
  | "not_its_service"
  /** It reached, or was called by, nobody the mesh knows under that name and identity. */
  | "unknown_peer";

/** Undefined: it may. A host that runs an older version than the server is refused what is no more; so do the first seconds
 *  after a deletion count a few. */
export function refusalOf(
  sample: EdgeSample,
  host: string,
  facts: MeshFacts,
): EdgeRefusal | undefined {
  const { reporter, source, destination, service } = sample;
  const own = reporter === "source" ? source : destination;
  if (!isOwn(own, host, facts)) return "not_its_workload";
  if (service !== UNKNOWN && !facts.services.has(service)) return "unknown_service";
  if (reporter === "destination" && !backs(own, service, facts)) return "not_its_service";
  const isKnown =
    reporter === "source" ? isDestination(destination, service, facts) : isCaller(source, facts);
  return isKnown ? undefined : "unknown_peer";
}

function isOwn(
  { workload, namespace, identity }: EdgeEnd,
  host: string,
  facts: MeshFacts,
): boolean {
  if (workload === UNKNOWN) return facts.hostOf(identity) === host;
  const known = facts.workload(namespace, workload);
  return known !== undefined && known.identity === identity && known.hosts.has(host);
}

const backs = ({ namespace, workload }: EdgeEnd, service: string, facts: MeshFacts): boolean =>
  service === UNKNOWN || (facts.workload(namespace, workload)?.services.includes(service) ?? false);

/** Without an identity it was plaintext to whatever answered there: a name of no weight, see normalized(). */
function isDestination(
  { workload, namespace, identity }: EdgeEnd,
  service: string,
  facts: MeshFacts,
): boolean {
  if (identity === UNKNOWN) return true;
  const known = facts.workload(namespace, workload);
  return known !== undefined && known.identity === identity && known.services.includes(service);
}

/** A caller without an identity is nobody; one with must be a workload or host of the mesh. */
function isCaller({ workload, namespace, identity }: EdgeEnd, facts: MeshFacts): boolean {
  if (identity === UNKNOWN) return workload === UNKNOWN;
  if (workload !== UNKNOWN) return facts.workload(namespace, workload)?.identity === identity;
  return facts.hostOf(identity) !== undefined || facts.workloadsOf(identity).length > 0;
}

/** The sample as it is kept: names that prove nothing are not. */
export function normalized(sample: EdgeSample, facts: MeshFacts): EdgeSample {
  const { destination, service } = sample;
  if (destination.identity !== UNKNOWN || destination.workload === UNKNOWN) return sample;
  const known = facts.workload(destination.namespace, destination.workload);
  if (known?.services.includes(service)) return sample;
  return { ...sample, destination: { workload: UNKNOWN, namespace: UNKNOWN, identity: UNKNOWN } };
}
