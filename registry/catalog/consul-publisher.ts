// The mesh's services in Consul's catalog, for whoever looks there: each host is a node `ironmesh-HOST` (one of its own: a Consul agent
// removes from its node what it does not know), each endpoint a service on it, healthy while its host's agent is connected to a
// server. One server writes at a time, the one that holds a lock; each tells under its session which hosts it sees. What we write is
// for others to read: nothing of it is ever read back as truth.
import { createHash } from "node:crypto";
import type { CatalogEndpoint, CatalogService } from "../../agent/api/session.ts";
import type { Timer } from "../../agent/base/clock.ts";
import type { Log } from "../../agent/base/log.ts";
import type {
  CheckRegistration,
  ConsulCatalogApi,
  NodeRegistration,
  ServiceRegistration,
} from "../consul/catalog-api.ts";
import type { ConsulClient } from "../consul/client.ts";
import type { WatchDeps } from "../consul/watch.ts";
import type { DiscoveredService } from "./catalog.ts";
import { OURS } from "./consul-discovery.ts";

/** How late Consul may learn of a change. */
export const PUBLISH_INTERVAL_MS = 1_000;
/** A server that dies is noticed after at most twice this; Consul's least is 10 s. */
const SESSION_TTL_MS = 10_000;
const RENEW_EVERY_MS = 4_000;
/** What Consul holds is compared anew this often: somebody may have removed it. */
const COMPARE_EVERY_MS = 60_000;
/** Consul's own limits for meta. */
const META_VALUE_CHARS_MAX = 512;
const META_LABELS_MAX = 32;
const NODE_PREFIX = "ironmesh-";

export interface PublisherDeps extends WatchDeps {
  readonly consul: ConsulClient;
  readonly api: ConsulCatalogApi;
  readonly log: Log;
  services(): Iterable<CatalogService>;
  endpointsOf(host: string): readonly CatalogEndpoint[];
  /** Rises with every change of services and endpoints. */
  version(): string;
  /** Hosts whose agents are connected to this server. */
  connectedHosts(): readonly string[];
  known(): Promise<readonly DiscoveredService[]>;
}

export class ConsulPublisher {
  readonly #prefix: string;
  readonly #deps: PublisherDeps;
  /** What we wrote as the one that writes: NODE, or NODE and a service's id, -> its text. */
  #written = new Map<string, string>();
  #session: string | undefined;
  #renewedAtMs = Number.NEGATIVE_INFINITY;
  #comparedAtMs = Number.NEGATIVE_INFINITY;
  #told = "";
  /** Holds the lock, as of the last renewal. */
  #isWriter = false;
  /** What was wanted of, when all of it was written. */
  #writtenFor = "";
  #trouble: string | undefined;
  #timer: Timer | undefined;
  #isStopped = false;
  #turn: Promise<void> = Promise.resolve();

  constructor(prefix: string, deps: PublisherDeps) {
    this.#prefix = prefix;
    this.#deps = deps;
  }

  start(): void {
    this.#turn = this.#tick()
      .then(() => {
        this.#trouble = undefined;
      })
      .catch((cause: unknown) => this.#note(cause))
      .then(() => {
        if (this.#isStopped) return;
        this.#timer = this.#deps.timers.after(PUBLISH_INTERVAL_MS, () => this.start());
      });
  }

  /** Lets another server write at once. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#timer?.cancel();
    await this.#turn;
    const session = this.#session;
    if (session !== undefined)
      await this.#deps.consul.destroySession(session).catch(() => undefined); // it ends by itself
  }

  #note(cause: unknown): void {
    // Whatever was under way is written again from the start.
    this.#forget();
    const message = cause instanceof Error ? cause.message : String(cause);
    if (this.#trouble === message) return;
    this.#trouble = message;
    const next = cause instanceof Error && "next" in cause ? String(cause.next) : undefined;
    this.#deps.log.warn("the mesh's services are not written to Consul's catalog", {
      cause: message,
      next,
    });
  }

  async #tick(): Promise<void> {
    const { consul, clock } = this.#deps;
    const session = await this.#liveSession();
    const told = JSON.stringify([...this.#deps.connectedHosts()].sort());
    if (told !== this.#told) {
      await consul.acquire(`${this.#prefix}/server/${session}`, told, session);
      this.#told = told;
    }
    if (!this.#isWriter) {
      this.#forget();
      return;
    }
    const seen = await this.#seenHosts();
    const isDue = clock.nowMs() - this.#comparedAtMs >= COMPARE_EVERY_MS;
    const wantedFor = `${this.#deps.version()} ${[...seen].sort().join()}`;
    if (!isDue && wantedFor === this.#writtenFor) return;
    const wanted = wantedOf(this.#deps, seen, await this.#deps.known());
    if (isDue) {
      await this.#removeStrays(wanted);
      this.#written.clear();
      this.#comparedAtMs = clock.nowMs();
    }
    await this.#write(wanted);
    this.#writtenFor = wantedFor;
  }

  /** Whatever we knew of Consul may not be so any more. */
  #forget(): void {
    this.#written.clear();
    this.#writtenFor = "";
    this.#comparedAtMs = Number.NEGATIVE_INFINITY;
  }

  async #liveSession(): Promise<string> {
    const { consul, clock } = this.#deps;
    const held = this.#session;
    if (held !== undefined && clock.nowMs() - this.#renewedAtMs < RENEW_EVERY_MS) return held;
    const isLive = held !== undefined && (await consul.renewSession(held));
    if (!isLive) this.#told = "";
    const session = isLive
      ? held
      : await consul.createSession({
          name: "ironmesh config server",
          ttlMs: SESSION_TTL_MS,
          behavior: "delete",
        });
    this.#session = session;
    this.#renewedAtMs = clock.nowMs();
    this.#isWriter = await this.#holdsLock(session);
    return session;
  }

  /** Looked at first: each attempt to take it is a write that all of Consul's servers agree upon. */
  async #holdsLock(session: string): Promise<boolean> {
    const key = `${this.#prefix}/publisher`;
    const holder = (await this.#deps.consul.getKey(key)).value?.session;
    if (holder !== undefined) return holder === session;
    return this.#deps.consul.acquire(key, session, session);
  }

  /** Hosts that any living server sees. */
  async #seenHosts(): Promise<ReadonlySet<string>> {
    const { value } = await this.#deps.consul.getBelow(`${this.#prefix}/server/`);
    const seen = new Set(this.#deps.connectedHosts());
    for (const { value: text } of value) for (const host of namesOf(text)) seen.add(host);
    return seen;
  }

  /** What is ours in Consul and not wanted any more. */
  async #removeStrays(wanted: ReadonlyMap<string, Wanted>): Promise<void> {
    const { api } = this.#deps;
    for (const node of await api.nodesWith(OURS, "1")) {
      const want = wanted.get(node);
      if (want === undefined) await api.deregister(node);
      else
        for (const id of await api.servicesOn(node))
          if (!want.services.has(id)) await api.deregister(node, id);
    }
  }

  async #write(wanted: ReadonlyMap<string, Wanted>): Promise<void> {
    await this.#remove(wanted);
    const { api } = this.#deps;
    for (const [name, { node, check, services }] of wanted) {
      const text = JSON.stringify([node, check]);
      if (this.#written.get(name) !== text) await api.register(node, { check });
      this.#written.set(name, text);
      for (const [id, service] of services) {
        const key = `${name}\n${id}`;
        const described = JSON.stringify(service);
        if (this.#written.get(key) !== described) await api.register(node, { service });
        this.#written.set(key, described);
      }
    }
  }

  /** What we wrote and is not wanted any more. */
  async #remove(wanted: ReadonlyMap<string, Wanted>): Promise<void> {
    const { api } = this.#deps;
    for (const [key] of this.#written) {
      const [node = "", id] = key.split("\n");
      const want = wanted.get(node);
      if (want === undefined && id === undefined) await api.deregister(node);
      else if (want !== undefined && id !== undefined && !want.services.has(id))
        await api.deregister(node, id);
      else if (want !== undefined) continue;
      this.#written.delete(key);
    }
  }
}

interface Wanted {
  readonly node: NodeRegistration;
  readonly check: CheckRegistration;
  readonly services: Map<string, ServiceRegistration>;
}

/** By node. */
function wantedOf(
  { services, endpointsOf }: Pick<PublisherDeps, "services" | "endpointsOf">,
  seen: ReadonlySet<string>,
  discovered: readonly DiscoveredService[],
): Map<string, Wanted> {
  const wanted = new Map<string, Wanted>();
  const there = new Set(
    discovered.flatMap(({ name, endpoints }) =>
      endpoints.map(({ address, port }) => `${name} ${address} ${port}`),
    ),
  );
  const taken = new Map<string, string>();
  for (const service of services()) {
    for (const endpoint of endpointsOf(service.host)) {
      if (!endpoint.hasAgent || endpoint.calledAs !== undefined) continue;
      endpoint.ports.forEach(({ port, targetPort }, i) => {
        const name = consulName(service, i === 0 ? undefined : port);
        // Consul's names are flat: the first service by host keeps one.
        if ((taken.get(name) ?? service.host) !== service.host) return;
        taken.set(name, service.host);
        if (there.has(`${name} ${endpoint.address} ${targetPort}`)) return; // its own Consul agent registered it
        const on = nodeOf(wanted, endpoint, seen);
        const registration = registrationOf(name, service, endpoint, targetPort);
        on.services.set(registration.id, registration);
      });
    }
  }
  return wanted;
}

function nodeOf(
  wanted: Map<string, Wanted>,
  { host, address }: CatalogEndpoint,
  seen: ReadonlySet<string>,
): Wanted {
  const name = NODE_PREFIX + host;
  const known = wanted.get(name);
  if (known !== undefined) return known;
  const isSeen = seen.has(host);
  const made: Wanted = {
    node: { node: name, address, nodeMeta: { [OURS]: "1", "external-node": "true" } },
    check: {
      checkId: "ironmesh-agent",
      name: "ironmesh agent",
      status: isSeen ? "passing" : "critical",
      output: isSeen ? "connected to a config server" : "connected to no config server",
    },
    services: new Map(),
  };
  wanted.set(name, made);
  return made;
}

/** NAME in `default`, NAME-NAMESPACE elsewhere; further ports have theirs at the end. */
function consulName({ name, namespace }: CatalogService, port: number | undefined): string {
  const base = namespace === "default" ? name : `${name}-${namespace}`;
  return port === undefined ? base : `${base}-${port}`;
}

function registrationOf(
  name: string,
  service: CatalogService,
  endpoint: CatalogEndpoint,
  port: number,
): ServiceRegistration {
  const { workload, namespace, serviceAccount, address, labels } = endpoint;
  const meta: Record<string, string> = {
    [OURS]: "1",
    "ironmesh-service": service.host,
    "ironmesh-namespace": namespace,
    "ironmesh-workload": workload,
    "ironmesh-service-account": serviceAccount,
  };
  // Consul's meta takes no dots or slashes in names.
  for (const [label, value] of Object.entries(labels).slice(0, META_LABELS_MAX))
    if (/^[A-Za-z0-9_-]{1,100}$/.test(label))
      meta[`label-${label}`] = value.slice(0, META_VALUE_CHARS_MAX);
  const version = labels["version"];
  const tags = version !== undefined && /^[a-z0-9-]{1,63}$/.test(version) ? [version] : [];
  const place = createHash("sha256")
    .update(`${namespace}/${workload} ${address} ${port}`)
    .digest("hex");
  return { id: `ironmesh-${name}-${place.slice(0, 12)}`, service: name, address, port, tags, meta };
}

function namesOf(text: string): readonly string[] {
  try {
    const names: unknown = JSON.parse(text);
    return Array.isArray(names) ? names.filter((name) => typeof name === "string") : [];
  } catch {
    return []; // not ours: it says nothing
  }
}
