// Host names of endpoints as this host knows them: the last good answer of each, where its addresses' counters are, and since when it
// cannot be had again. Data threads say which names are used, one of them looks them up (proxy/name-watch.ts), all are told what is here.
import type { LookedUpName } from "../api/admin.ts";
import type { Log } from "../base/log.ts";
import type { Slots } from "../base/slots.ts";
import {
  ADDRESSES_PER_NAME_MAX,
  type Endpoint,
  type Snapshot,
  slotsFrom,
} from "../policy/snapshot.ts";
import type { NameNews, ToldName } from "../policy/told-names.ts";

/** How long a last good answer is used while the resolvers give no other. RFC 8767 (5) recommends one to three days. */
export const STALE_MS_MAX = 86_400_000;

interface Known {
  places: (string | undefined)[];
  first: string | undefined;
  answeredMs: number | undefined;
  ttlSeconds: number | undefined;
  resolver: string | undefined;
  refused: readonly string[];
  failure: string | undefined;
}

export interface NameBoardDeps {
  readonly slots: Slots;
  readonly log: Log;
  nowMs(): number;
  /** To the thread that looks names up. */
  want(name: string): void;
  /** The same; it need not any more. */
  drop(name: string): void;
  /** To all threads. */
  tell(names: readonly ToldName[]): void;
}

export class NameBoard {
  readonly #deps: NameBoardDeps;
  readonly #known = new Map<string, Known>();
  /** Endpoints of each name of the snapshot. */
  #endpoints: ReadonlyMap<string, readonly Endpoint[]> = new Map();

  constructor(deps: NameBoardDeps) {
    this.#deps = deps;
  }

  /** Before the threads get it: what they ask for by it is known then. */
  follow({ endpoints }: Pick<Snapshot, "endpoints">): void {
    const byName = new Map<string, Endpoint[]>();
    for (const endpoint of endpoints) {
      if (endpoint.lookup === undefined) continue;
      const there = byName.get(endpoint.address);
      if (there === undefined) byName.set(endpoint.address, [endpoint]);
      else there.push(endpoint);
    }
    this.#endpoints = byName;
    for (const name of this.#known.keys()) if (!byName.has(name)) this.#forget(name);
  }

  /** Somebody on this host uses it. */
  used(name: string): void {
    if (!this.#endpoints.has(name)) return; // of a snapshot that is over
    if (!this.#known.has(name)) this.#known.set(name, nothingKnown());
    this.#deps.want(name);
  }

  hear(news: NameNews): void {
    const known = this.#known.get(news.name);
    if (known === undefined) return;
    switch (news.is) {
      case "unused":
        this.#forget(news.name);
        return;
      case "failed":
        this.#failed(news.name, known, news.reason);
        break;
      case "answered":
        this.#answered(known, news);
    }
    this.#deps.tell([toldOf(news.name, known)]);
  }

  #answered(known: Known, news: Extract<NameNews, { readonly is: "answered" }>): void {
    const { name, addresses, refused, ttlSeconds, resolver } = news;
    const { log } = this.#deps;
    if (known.failure !== undefined) log.info("a host name is looked up again", { name });
    const isNew = refused.length > 0 && refused.join() !== known.refused.join();
    if (isNew)
      log.warn("a host name leads where it may not", { name, refused: refused.join(", ") });
    known.failure = undefined;
    known.answeredMs = this.#deps.nowMs();
    known.ttlSeconds = ttlSeconds;
    known.resolver = resolver;
    known.refused = refused;
    this.#place(name, known, addresses);
    // One that is logical stays where it was when there is nothing else (Envoy's LOGICAL_DNS).
    known.first = addresses[0] ?? known.first;
  }

  /** Who stays keeps its place; who is new takes a free one, with counters of its own. */
  #place(name: string, known: Known, addresses: readonly string[]): void {
    const used = addresses.slice(0, ADDRESSES_PER_NAME_MAX);
    const { places } = known;
    for (const [place, address] of places.entries())
      if (address !== undefined && !used.includes(address)) places[place] = undefined;
    for (const address of used) {
      if (places.includes(address)) continue;
      const place = places.indexOf(undefined);
      places[place] = address;
      this.#clearCounters(name, place);
    }
  }

  /** Requests under way at who had the place before are still counted off there. */
  #clearCounters(name: string, place: number): void {
    for (const { lookup } of this.#endpoints.get(name) ?? []) {
      const first = lookup?.takes === "all" ? lookup.slots[place] : undefined;
      if (first === undefined) continue;
      const { active: _, hostHealth: __, ...health } = slotsFrom(first);
      for (const slot of Object.values(health)) this.#deps.slots.write(slot, 0);
    }
  }

  #failed(name: string, known: Known, reason: string): void {
    const isFirst = known.failure === undefined;
    known.failure = reason;
    const sinceMs = this.#deps.nowMs() - (known.answeredMs ?? 0);
    if (known.answeredMs !== undefined && sinceMs > STALE_MS_MAX) {
      known.places.fill(undefined);
      known.first = undefined;
    }
    const addresses = addressesOf(known).join(" ") || "none";
    if (isFirst)
      this.#deps.log.warn("a host name cannot be looked up", { name, reason, addresses });
  }

  #forget(name: string): void {
    this.#known.delete(name);
    this.#deps.drop(name);
    this.#deps.tell([{ name, places: undefined, first: undefined }]);
  }

  /** For a thread that is new. */
  get told(): readonly ToldName[] {
    return [...this.#known]
      .filter(([, { answeredMs, failure }]) => answeredMs !== undefined || failure !== undefined)
      .map(([name, known]) => toldOf(name, known));
  }

  /** For one that is to look names up in another's place. */
  get wanted(): readonly string[] {
    return [...this.#known.keys()];
  }

  /** All names of the snapshot, for people. */
  get names(): readonly LookedUpName[] {
    const nowMs = this.#deps.nowMs();
    return [...this.#endpoints.keys()].map((name) => {
      const known = this.#known.get(name);
      const answeredMs = known?.answeredMs;
      return {
        name,
        isUsed: known !== undefined,
        addresses: known === undefined ? [] : addressesOf(known),
        first: known?.first,
        refused: known?.refused ?? [],
        resolver: known?.resolver,
        ttlSeconds: known?.ttlSeconds,
        ageSeconds: answeredMs === undefined ? undefined : Math.round((nowMs - answeredMs) / 1_000),
        failure: known?.failure,
      };
    });
  }
}

const nothingKnown = (): Known => ({
  places: Array.from({ length: ADDRESSES_PER_NAME_MAX }, () => undefined),
  first: undefined,
  answeredMs: undefined,
  ttlSeconds: undefined,
  resolver: undefined,
  refused: [],
  failure: undefined,
});

const addressesOf = ({ places }: Known): string[] => places.filter((one) => one !== undefined);

const toldOf = (name: string, { places, first }: Known): ToldName => ({
  name,
  places: [...places],
  first,
});
