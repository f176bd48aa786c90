// What Consul knows of services, as the mesh believes it. Never taken as truth:
// - an answer that fails, and one in which Consul's own service is not to be seen (a token that may not read gets 200 and less):
//   everything stays as it was;
// - a service without a healthy instance: its last ones stay, since nobody is served better by none (its callers fail either way);
//   it is forgotten once Consul has not listed it for FORGET_AFTER_MS.
// Instances at addresses that other hosts cannot mean (loopback and the like) are left out: who registers there could else
// make every host dial its own services.
import type { Log } from "../../agent/base/log.ts";
import type { ConsulCatalogApi, Instance } from "../consul/catalog-api.ts";
import type { ConsulFailure } from "../consul/client.ts";
import { type WatchDeps, watch } from "../consul/watch.ts";
import { addressForOthers } from "./addresses.ts";
import type { DiscoveredEndpoint, DiscoveredService } from "./catalog.ts";

export const FORGET_AFTER_MS = 600_000;
/** Services and instances of each; more are left out, and that is logged. */
export const DISCOVERED_SERVICES_MAX = 2_000;
export const DISCOVERED_INSTANCES_MAX = 1_000;
/** All services are read again at most this often. */
export const REFRESH_INTERVAL_MS = 1_000;
const AT_ONCE = 8;
/** On every node of ours, and in the meta of all we register. */
export const OURS = "ironmesh";
const CANARY = "consul";
const NAME = /^(?!.*--)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export interface DiscoveryDeps extends WatchDeps {
  readonly api: ConsulCatalogApi;
  readonly log: Log;
  /** What the mesh believes now. */
  known(): Promise<readonly DiscoveredService[]>;
  /** Stores what differs. */
  discover(found: readonly DiscoveredService[]): Promise<void>;
}

/** Runs until the returned function is called. */
export function discoverServices(deps: DiscoveryDeps): () => void {
  const discovery = new Discovery(deps);
  const onFailure = (cause: Error): void => discovery.note(cause);
  const watched = { onValue: () => discovery.refresh(), onFailure };
  const stops = [
    watch(
      { ...watched, read: (b) => deps.api.services(b), intervalMinMs: REFRESH_INTERVAL_MS },
      deps,
    ),
    watch(
      { ...watched, read: (b) => deps.api.anyCheck(b), intervalMinMs: REFRESH_INTERVAL_MS },
      deps,
    ),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}

class Discovery {
  readonly #deps: DiscoveryDeps;
  readonly #missingSinceMs = new Map<string, number>();
  #turn: Promise<void> = Promise.resolve();
  #trouble: string | undefined;

  constructor(deps: DiscoveryDeps) {
    this.#deps = deps;
  }

  /** Rejects when Consul's answers were not to be had or not to be believed; then nothing changed. */
  refresh(): Promise<void> {
    const done = this.#turn.then(() => this.#refresh());
    this.#turn = done.catch(() => undefined); // its caller is told
    return done;
  }

  note(cause: Error | ConsulFailure): void {
    if (this.#trouble === cause.message) return;
    this.#trouble = cause.message;
    this.#deps.log.warn("services in Consul are not to be had: the mesh keeps those it knows", {
      cause: cause.message,
      next: "next" in cause ? cause.next : undefined,
    });
  }

  async #refresh(): Promise<void> {
    const { api, clock, log } = this.#deps;
    const names = (await api.services()).value;
    if (!names.includes(CANARY)) throw new Blind();
    const wanted = names.filter((name) => name !== CANARY && NAME.test(name)).sort();
    if (wanted.length > DISCOVERED_SERVICES_MAX)
      log.warn("Consul has more services than the mesh takes from it", {
        services: wanted.length,
        taken: DISCOVERED_SERVICES_MAX,
      });
    const seen = new Map<string, DiscoveredService>();
    await atOnce(wanted.slice(0, DISCOVERED_SERVICES_MAX), async (name) => {
      const instances = (await api.instances(name)).filter(({ meta }) => meta[OURS] === undefined);
      // One that only we registered is ours, not found.
      if (instances.length > 0) seen.set(name, serviceOf(name, instances));
    });
    const before = new Map((await this.#deps.known()).map((one) => [one.name, one]));
    await this.#deps.discover(believe(before, seen, this.#missingSinceMs, clock.nowMs()));
    if (this.#trouble !== undefined) log.info("services in Consul are to be had again");
    this.#trouble = undefined;
  }
}

/** What the mesh is to believe. `missingSinceMs` remembers from one call to the next since when Consul has not listed what. */
export function believe(
  before: ReadonlyMap<string, DiscoveredService>,
  seen: ReadonlyMap<string, DiscoveredService>,
  missingSinceMs: Map<string, number>,
  nowMs: number,
): DiscoveredService[] {
  for (const name of [...missingSinceMs.keys()])
    if (seen.has(name) || !before.has(name)) missingSinceMs.delete(name);
  const believed = new Map<string, DiscoveredService>();
  for (const [name, service] of before) {
    if (seen.has(name)) continue;
    const sinceMs = missingSinceMs.get(name) ?? nowMs;
    missingSinceMs.set(name, sinceMs);
    if (nowMs - sinceMs < FORGET_AFTER_MS) believed.set(name, service);
  }
  for (const [name, service] of seen) {
    const held = before.get(name);
    const isEmpty = service.endpoints.length === 0;
    believed.set(name, isEmpty && held !== undefined ? held : service);
  }
  return [...believed.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Consul answered, and hid itself. */
class Blind extends Error {
  readonly next =
    'give the server\'s Consul token `service_prefix "" { policy = "read" }` and `node_prefix "" { policy = "read" }`';

  constructor() {
    super("Consul's answer does not show Consul's own service: the token may not read services");
  }
}

/** Healthy instances, in an order of their own; what they say of who they are is not kept. */
function serviceOf(name: string, instances: readonly Instance[]): DiscoveredService {
  const endpoints = new Map<string, DiscoveredEndpoint>();
  const protocols = new Set<DiscoveredService["protocol"]>();
  for (const instance of instances.slice(0, DISCOVERED_INSTANCES_MAX)) {
    const endpoint = endpointOf(instance);
    if (endpoint === undefined || instance.status === "critical") continue;
    endpoints.set(`${endpoint.address} ${String(endpoint.port).padStart(5, "0")}`, endpoint);
    protocols.add(protocolOf(instance.meta["protocol"]));
  }
  const [protocol = ""] = protocols.size === 1 ? protocols : [];
  return {
    name,
    protocol,
    endpoints: [...endpoints].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, one]) => one),
  };
}

function endpointOf({
  address,
  nodeAddress,
  port,
  weight,
  meta,
}: Instance): DiscoveredEndpoint | undefined {
  const written = address === "" ? nodeAddress : address;
  const canonical = addressForOthers(written);
  if (canonical === undefined || port < 1 || port > 65_535) return undefined;
  const version = meta["version"];
  return {
    address: canonical,
    port,
    weight: Number.isInteger(weight) && weight >= 1 && weight <= 65_535 ? weight : 1,
    labels: version === undefined ? {} : { version: version.slice(0, 63) },
  };
}

function protocolOf(meta: string | undefined): DiscoveredService["protocol"] {
  const word = meta?.toUpperCase();
  return word === "HTTP" || word === "TCP" ? word : "";
}

async function atOnce<T>(items: readonly T[], run: (item: T) => Promise<void>): Promise<void> {
  const left = [...items].reverse();
  const lane = async (): Promise<void> => {
    for (let item = left.pop(); item !== undefined; item = left.pop()) await run(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}
