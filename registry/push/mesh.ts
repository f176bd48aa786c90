// The mesh as the server knows it, and the only way to change it: read, compute, check, commit, publish. One change at a time
// here, and compare-and-set in the store against other servers; so what agents get is what the store acknowledged.
import type { AppliedResource, ApplyResponse } from "../../agent/api/operator-api.ts";
import { checkResource } from "../../agent/api/parse-resource.ts";
import { canonicalJson, refOf, titleOf } from "../../agent/api/resource.ts";
import type { MeshSettings, ResourceDocument } from "../../agent/api/session.ts";
import type { Clock } from "../../agent/base/clock.ts";
import type { Log } from "../../agent/base/log.ts";
import { err, ok, type Problem, type Result } from "../../agent/base/result.ts";
import type { Catalog } from "../catalog/catalog.ts";
import type {
  DiscoveredService,
  HostRecord,
  MeshState,
  ResourceKey,
  Store,
  TokenRefusal,
  TokenUse,
} from "../store/store.ts";
import { keyOf, keyText } from "../store/store.ts";
import { type Candidate, problemKey, problemsOf } from "./check-compiles.ts";
import type { Hub } from "./hub.ts";
import { UnitBook } from "./units.ts";

export const DOCUMENTS_PER_APPLY_MAX = 20_000;
/** Units of one version; agents bound what they keep by it too. */
export const UNITS_MAX = 25_000;
const CONFLICT_RETRIES_MAX = 8;

export interface Refusal {
  readonly code: "invalid_resource" | "agents_cannot_run" | "not_found" | "conflict";
  readonly problems: readonly Problem[];
}

export interface ApplyRequest {
  readonly documents: readonly unknown[];
  readonly who: string;
  readonly isDryRun: boolean;
}

interface Change {
  readonly put: readonly ResourceDocument[];
  readonly remove: readonly ResourceKey[];
  readonly putHosts: readonly HostRecord[];
  readonly removeHosts?: readonly string[];
  readonly putDiscovered?: readonly DiscoveredService[];
  readonly removeDiscovered?: readonly string[];
  readonly what: readonly string[];
}

export interface MeshDeps {
  readonly store: Store;
  readonly catalog: Catalog;
  readonly hub: Hub;
  readonly clock: Clock;
  readonly log: Log;
}

export class Mesh {
  readonly settings: MeshSettings;
  readonly #deps: MeshDeps;
  readonly #units = new UnitBook();
  #turn: Promise<unknown> = Promise.resolve();

  constructor(config: { readonly settings: MeshSettings }, deps: MeshDeps) {
    this.settings = config.settings;
    this.#deps = deps;
  }

  /** Publishes what the store holds; to be called before agents are let in. What other servers write to it follows. */
  open(): Promise<void> {
    this.#deps.store.onForeignWrite(() => {
      this.#oneAtATime(() => this.#publishStored()).catch((cause: unknown) =>
        this.#deps.log.error("another server's change is not published", { cause: String(cause) }),
      );
    });
    return this.#oneAtATime(() => this.#publishStored());
  }

  /** All documents or none. `isDryRun` does everything but store it. */
  apply(request: ApplyRequest): Promise<Result<ApplyResponse, Refusal>> {
    const checked = checkDocuments(request.documents);
    const { documents, problems } = checked;
    if (problems.some(({ severity }) => severity === "error")) {
      return Promise.resolve(err({ code: "invalid_resource", problems }));
    }
    const unable = this.#whatAgentsCannotRun(documents);
    if (unable.length > 0) {
      return Promise.resolve(err({ code: "agents_cannot_run", problems: unable }));
    }
    return this.#oneAtATime(() =>
      this.#change(request, (state) => {
        const before = new Map(
          state.resources.map(({ document }) => [refOf(document), canonicalJson(document)]),
        );
        const results = documents.map((document) => ({
          ref: refOf(document),
          change: changeOf(before.get(refOf(document)), canonicalJson(document)),
        }));
        const put = documents.filter((_, i) => results[i]?.change !== "unchanged");
        const what = put.map((document) => `apply ${titleOf(document)}`);
        const titles = documents.map(titleOf);
        return ok({ change: { put, remove: [], putHosts: [], what }, results, titles, problems });
      }),
    );
  }

  /** All that is wrong or doubtful with the documents, were they added to the mesh as it is. */
  async validate(documents: readonly unknown[]): Promise<readonly Problem[]> {
    const checked = await this.apply({ documents, who: "", isDryRun: true });
    return checked.ok ? checked.value.warnings : checked.error.problems;
  }

  remove(key: ResourceKey, who: string): Promise<Result<ApplyResponse, Refusal>> {
    return this.#oneAtATime(() =>
      this.#change({ who, isDryRun: false }, (state) => {
        const stored = state.resources.find((r) => keyText(keyOf(r.document)) === keyText(key));
        if (stored === undefined) return err({ code: "not_found", problems: [] });
        const title = titleOf(stored.document);
        const change = { put: [], remove: [key], putHosts: [], what: [`delete ${title}`] };
        return ok({ change, results: [], titles: [], problems: [] });
      }),
    );
  }

  join(use: TokenUse): Promise<Result<HostRecord, TokenRefusal>> {
    return this.#oneAtATime(async () => {
      const joined = await this.#deps.store.useToken(use);
      if (joined.ok) await this.#publishStored();
      return joined;
    });
  }

  /** It is a member no more: its grant, its endpoints and its session end, and its name is free. Certificates that it holds are good
   *  at other hosts until they expire. */
  removeHost(name: string, who: string): Promise<Result<ApplyResponse, Refusal>> {
    return this.#oneAtATime(() =>
      this.#change({ who, isDryRun: false }, ({ hosts }) => {
        if (!hosts.some((host) => host.name === name))
          return err({ code: "not_found", problems: [] });
        const what = [`remove host ${name}`];
        const change = { put: [], remove: [], putHosts: [], removeHosts: [name], what };
        return ok({ change, results: [], titles: [], problems: [] });
      }),
    );
  }

  /** A host's agent connects from this address: where its workloads are reached, unless its token said otherwise. */
  observe(name: string, address: string): Promise<void> {
    return this.#oneAtATime(async () => {
      const host = await this.#deps.store.host(name);
      if (host === undefined || host.areAddressesPinned || host.addresses[0] === address) return;
      const moved = { ...host, addresses: [address] };
      const what = [`host ${name} is at ${address}`];
      await this.#change({ who: `host/${name}`, isDryRun: false }, () =>
        ok({
          change: { put: [], remove: [], putHosts: [moved], what },
          results: [],
          titles: [],
          problems: [],
        }),
      );
    });
  }

  /** What another catalog knows now; whoever says so decides what to believe of it. Only what differs is stored. */
  discover(found: readonly DiscoveredService[]): Promise<Result<ApplyResponse, Refusal>> {
    return this.#oneAtATime(() =>
      this.#change({ who: "consul", isDryRun: false }, ({ discovered }) =>
        ok({
          change: changeOfDiscovered(discovered, found),
          results: [],
          titles: [],
          problems: [],
        }),
      ),
    );
  }

  async #change(
    by: { readonly who: string; readonly isDryRun: boolean },
    compute: (state: MeshState) => Result<Computed, Refusal>,
  ): Promise<Result<ApplyResponse, Refusal>> {
    for (let attempt = 0; attempt < CONFLICT_RETRIES_MAX; attempt++) {
      const state = await this.#deps.store.state();
      const computed = compute(state);
      if (!computed.ok) return computed;
      const planned = this.#plan(state, computed.value);
      if (!planned.ok) return planned;
      const { candidate, warnings } = planned.value;
      const { change, results } = computed.value;
      const isEmpty = change.what.length === 0;
      const { epoch, version } = by.isDryRun ? state : candidate.state;
      const done = ok({ epoch, version, results, warnings });
      if (isEmpty || by.isDryRun) return done;
      const committed = await this.#deps.store.commit({
        ...change,
        expectVersion: state.version,
        removeHosts: change.removeHosts ?? [],
        putDiscovered: change.putDiscovered ?? [],
        removeDiscovered: change.removeDiscovered ?? [],
        putAllocations: candidate.catalog.reservationsChanged,
        who: by.who,
        atMs: this.#deps.clock.wallMs(),
      });
      if (!committed.ok) continue; // Another server was faster: compute again from what it left.
      this.#deps.hub.publish(candidate.publication);
      return done;
    }
    return err({ code: "conflict", problems: [] });
  }

  /** What the mesh would be, or why it may not be that. */
  #plan(
    state: MeshState,
    { change, titles, problems }: Computed,
  ): Result<{ candidate: Candidate; warnings: Problem[] }, Refusal> {
    const candidate = this.#candidate(change.what.length === 0 ? state : after(state, change));
    if (!candidate.ok) return err({ code: "invalid_resource", problems: candidate.error });
    const broken = this.#breaks(state, candidate.value, change);
    if (broken.some(({ severity }) => severity === "error")) {
      return err({ code: "invalid_resource", problems: [...problems, ...broken] });
    }
    const concerned = candidate.value.catalog.warnings.filter(({ document = "" }) =>
      titles.includes(document),
    );
    return ok({ candidate: candidate.value, warnings: [...problems, ...concerned, ...broken] });
  }

  /** What the change breaks: problems that were there before it are not its fault. */
  #breaks(state: MeshState, candidate: Candidate, change: Change): Problem[] {
    if (change.what.length === 0) return [];
    const changed = [
      ...change.put,
      ...state.resources
        .map(({ document }) => document)
        .filter((document) => change.remove.some((k) => keyText(k) === keyText(keyOf(document)))),
    ];
    const problems = problemsOf(candidate, changed);
    if (candidate.publication.unitCount > UNITS_MAX) {
      const reason = `the mesh would have more than ${UNITS_MAX} resources, services and endpoint lists`;
      problems.push({ path: "", reason, severity: "error" });
    }
    if (problems.length === 0) return problems;
    const current = this.#candidate(state);
    const known = new Set(current.ok ? problemsOf(current.value, changed).map(problemKey) : []);
    const titles = new Set(change.put.map(titleOf));
    return problems.filter((p) => titles.has(p.document ?? "") || !known.has(problemKey(p)));
  }

  #candidate(state: MeshState): Result<Candidate, readonly Problem[]> {
    const catalog = this.#deps.catalog.view({
      resources: state.resources.map(({ document }) => document),
      hosts: state.hosts,
      reservations: state.allocations,
      discovered: state.discovered,
      nowMs: this.#deps.clock.wallMs(),
    });
    if (!catalog.ok) return catalog;
    return ok({
      state,
      catalog: catalog.value,
      publication: this.#units.publish(state, catalog.value, this.settings),
      mesh: this.settings,
    });
  }

  async #publishStored(): Promise<void> {
    const candidate = this.#candidate(await this.#deps.store.state());
    if (candidate.ok) this.#deps.hub.publish(candidate.value.publication);
    else {
      const reasons = candidate.error.map(({ reason }) => reason);
      this.#deps.log.error("stored resources contradict each other", { reasons });
    }
  }

  #whatAgentsCannotRun(documents: readonly ResourceDocument[]): Problem[] {
    return documents.flatMap((document) => {
      const kind = `${document.apiVersion}/${document.kind}`;
      const hosts = this.#deps.hub.hostsThatCannotRun(kind);
      if (hosts.length === 0) return [];
      const shown = hosts.slice(0, 10).join(", ");
      const more = hosts.length > 10 ? ` and ${hosts.length - 10} more` : "";
      return {
        document: titleOf(document),
        path: "kind",
        reason: `the agents of ${shown}${more} cannot run ${kind}: upgrade them first`,
        severity: "error" as const,
      };
    });
  }

  #oneAtATime<T>(task: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(task);
    this.#turn = done.then(
      () => undefined,
      () => undefined, // Its caller is told; the next change does not depend on it.
    );
    return done;
  }
}

interface Computed {
  readonly change: Change;
  readonly results: readonly AppliedResource[];
  /** Whose warnings the asker wants to know. */
  readonly titles: readonly string[];
  readonly problems: readonly Problem[];
}

function changeOf(before: string | undefined, now: string): "created" | "configured" | "unchanged" {
  if (before === undefined) return "created";
  return before === now ? "unchanged" : "configured";
}

/** Skipped kinds (Kubernetes) are warnings; everything else that is wrong refuses the whole. */
function checkDocuments(values: readonly unknown[]): {
  readonly documents: readonly ResourceDocument[];
  readonly problems: readonly Problem[];
} {
  const problems: Problem[] = [];
  const documents = new Map<string, ResourceDocument>();
  if (values.length > DOCUMENTS_PER_APPLY_MAX) {
    const reason = `${values.length} documents at once; at most ${DOCUMENTS_PER_APPLY_MAX}`;
    return { documents: [], problems: [{ path: "", reason, severity: "error" }] };
  }
  for (const [i, value] of values.entries()) {
    const checked = checkResource(value, `document ${i + 1}`);
    problems.push(...checked.problems);
    if (checked.resource === undefined) continue;
    const ref = refOf(checked.resource);
    if (documents.has(ref)) {
      const document = titleOf(checked.resource);
      const place = `document ${i + 1}`;
      const reason = "stands twice in this apply: keep one";
      problems.push({ document, place, path: "metadata.name", reason, severity: "error" });
    }
    documents.set(ref, checked.resource);
  }
  return { documents: [...documents.values()], problems };
}

function changeOfDiscovered(
  before: readonly DiscoveredService[],
  found: readonly DiscoveredService[],
): Change {
  const known = new Map(before.map((service) => [service.name, canonicalJson(service)]));
  const names = new Set(found.map(({ name }) => name));
  const putDiscovered = found.filter((one) => known.get(one.name) !== canonicalJson(one));
  const removeDiscovered = [...known.keys()].filter((name) => !names.has(name));
  const what = [
    ...putDiscovered.map((one) => `discover ${one.name}: ${one.endpoints.length} endpoints`),
    ...removeDiscovered.map((name) => `forget ${name}`),
  ];
  return { put: [], remove: [], putHosts: [], putDiscovered, removeDiscovered, what };
}

/** The state as it will be once the change is committed. */
function after(state: MeshState, change: Change): MeshState {
  const version = state.version + 1;
  const resources = new Map(state.resources.map((r) => [keyText(keyOf(r.document)), r]));
  for (const key of change.remove) resources.delete(keyText(key));
  for (const document of change.put) {
    resources.set(keyText(keyOf(document)), { document, revision: version });
  }
  const discovered = new Map(state.discovered.map((service) => [service.name, service]));
  for (const name of change.removeDiscovered ?? []) discovered.delete(name);
  for (const service of change.putDiscovered ?? []) discovered.set(service.name, service);
  const hosts = new Map(state.hosts.map((host) => [host.name, host]));
  for (const name of change.removeHosts ?? []) hosts.delete(name);
  for (const host of change.putHosts) hosts.set(host.name, host);
  return {
    ...state,
    version,
    // As the store orders them, so that a version is the same before and after a restart.
    resources: [...resources].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, resource]) => resource),
    hosts: [...hosts.values()],
    discovered: [...discovered].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, service]) => service),
  };
}
