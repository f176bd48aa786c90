// The last question before a change is stored: does every agent's compiler take it? Asked with the compiler the agents run, on
// exactly what each host would be sent.
import { readWorkload } from "../../agent/api/resource.ts";
import type { MeshSettings, ResourceDocument } from "../../agent/api/session.ts";
import type { Problem } from "../../agent/base/result.ts";
import { PortBook, SlotBook } from "../../agent/policy/books.ts";
import { compile } from "../../agent/policy/compile.ts";
import type { CatalogView } from "../catalog/catalog.ts";
import type { MeshState } from "../store/store.ts";
import type { Publication } from "./units.ts";

/** Compiling for every host of a large mesh would block the server: beyond this many, those the change touches and the first
 *  of the others stand for all, since hosts differ only in the workloads they run. */
export const COMPILED_HOSTS_MAX = 32;
/** As many slots as an agent's default; see docs/operating.md. */
export const SLOTS_MAX = 1 << 20;

export interface Candidate {
  readonly state: MeshState;
  readonly catalog: CatalogView;
  readonly publication: Publication;
  readonly mesh: MeshSettings;
}

/** All problems over the hosts, each told once. */
export function problemsOf(candidate: Candidate, changed: readonly ResourceDocument[]): Problem[] {
  const found = new Map<string, Problem>();
  for (const name of hostsToCompile(candidate.state, changed)) {
    const { problems } = compile({
      epoch: candidate.state.epoch,
      version: candidate.state.version,
      mesh: candidate.mesh,
      host: {
        name,
        addresses: candidate.state.hosts.find((host) => host.name === name)?.addresses ?? [],
      },
      resources: candidate.publication.resourcesFor(name),
      services: candidate.catalog.services,
      endpoints: candidate.catalog.endpoints,
      slots: new SlotBook(0, SLOTS_MAX).draft(),
      ports: new PortBook().draft(),
    });
    for (const problem of problems) found.set(problemKey(problem), problem);
  }
  return [...found.values()];
}

export const problemKey = ({ document, path, reason }: Problem): string =>
  JSON.stringify([document, path, reason]);

/** A mesh without hosts is compiled for a caller that runs nothing. */
function hostsToCompile(state: MeshState, changed: readonly ResourceDocument[]): string[] {
  const workloads = state.resources
    .map(({ document }) => document)
    .filter(({ kind }) => kind === "Workload");
  const touched = workloads.filter((workload) =>
    changed.some(({ metadata }) => metadata.namespace === workload.metadata.namespace),
  );
  const named = (some: readonly ResourceDocument[]) => some.flatMap((w) => readWorkload(w).hosts);
  const hosts = new Set([
    ...named(touched),
    ...state.hosts.map(({ name }) => name),
    ...named(workloads),
  ]);
  return hosts.size === 0 ? ["-"] : [...hosts].slice(0, COMPILED_HOSTS_MAX);
}
