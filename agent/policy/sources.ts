// The resources of a compile, sorted into kinds and into the order that decides between equals, and the list of problems.

import type { DestinationRuleSpec } from "../api/destination-rule.ts";
import {
  isKind,
  type Kind,
  readAuthorizationPolicy,
  readDestinationRule,
  readPeerAuthentication,
  readRateLimit,
  readServiceEntry,
  readVirtualService,
  readWorkload,
  readWorkloadEntry,
  type SpecOfKind,
  titleOf,
} from "../api/resource.ts";
import type { ResourceDocument } from "../api/session.ts";
import type { Problem } from "../base/result.ts";

export interface Rule<Spec> {
  readonly name: string;
  readonly namespace: string;
  readonly labels: { readonly [name: string]: string };
  /** `Kind namespace/name`. */
  readonly title: string;
  readonly spec: Spec;
}

export type Sources = { readonly [K in Kind]: readonly Rule<SpecOfKind[K]>[] };
export type DestinationRule = Rule<DestinationRuleSpec>;

/** Istio decides between equals by creation time, then by name and namespace. Resources here carry no time (two servers, or a
 *  file, would not agree on it), so it is name, then namespace: stable, and visible in the files. */
export function sortSources(
  resources: readonly ResourceDocument[],
  problems: ProblemList,
): Sources {
  const inOrder = resources.filter((doc) => isRunnable(doc, problems)).sort(byName);
  const all = <Spec>(kind: Kind, read: (doc: ResourceDocument) => Spec): Rule<Spec>[] =>
    inOrder
      .filter((doc) => doc.kind === kind)
      .map((doc) => ({
        name: doc.metadata.name,
        namespace: doc.metadata.namespace,
        labels: doc.metadata.labels ?? {},
        title: titleOf(doc),
        spec: read(doc),
      }));
  return {
    VirtualService: all("VirtualService", readVirtualService),
    DestinationRule: all("DestinationRule", readDestinationRule),
    ServiceEntry: all("ServiceEntry", readServiceEntry),
    WorkloadEntry: all("WorkloadEntry", readWorkloadEntry),
    PeerAuthentication: all("PeerAuthentication", readPeerAuthentication),
    AuthorizationPolicy: all("AuthorizationPolicy", readAuthorizationPolicy),
    RateLimit: all("RateLimit", readRateLimit),
    Workload: all("Workload", readWorkload),
  };
}

const byName = ({ metadata: a }: ResourceDocument, { metadata: b }: ResourceDocument): number =>
  compareText(a.name, b.name) || compareText(a.namespace, b.namespace);

/** Not localeCompare: hosts with other locales must agree. */
const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** A newer server may send kinds that this agent does not know; it tells so instead of guessing. */
function isRunnable(doc: ResourceDocument, problems: ProblemList): boolean {
  if (!isKind(doc.kind)) {
    problems.error(titleOf(doc), "kind", "is not a kind this version runs; upgrade the agent");
    return false;
  }
  if (typeof doc.spec !== "object" || doc.spec === null) {
    problems.error(titleOf(doc), "spec", "must be an object");
    return false;
  }
  return true;
}

/** Of each severity. Bounded: a mesh with one mistake in every resource must not fill the log or a reply. */
export const PROBLEMS_MAX = 1000;

/** Told once each: the same rule is read again for every port and namespace it touches. */
export class ProblemList {
  readonly #problems = new Map<string, Problem>();
  #warnings = 0;

  error(document: string, path: string, reason: string): void {
    if (this.#problems.size - this.#warnings < PROBLEMS_MAX)
      this.#problems.set(`${document} ${path} ${reason}`, {
        document,
        path,
        reason,
        severity: "error",
      });
  }

  warn(document: string, path: string, reason: string): void {
    const key = `${document} ${path} ${reason}`;
    if (this.#warnings >= PROBLEMS_MAX || this.#problems.has(key)) return;
    this.#warnings++;
    this.#problems.set(key, { document, path, reason, severity: "warning" });
  }

  get all(): readonly Problem[] {
    return [...this.#problems.values()];
  }
}
