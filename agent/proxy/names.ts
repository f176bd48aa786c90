// The agent as its host's resolver: names of the mesh from the snapshot, everything else to the resolvers that were asked, as
// it came. It needs no server: with all of them gone, names resolve as before. RFC 1035; RFC 5452 (ids and ports nobody guesses).
import type { Timers } from "../base/clock.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import { type DnsQuery, parseQuery, writeAnswer } from "../protocol/dns.ts";
import { type Forwarders, ResolverExchange } from "./resolver-exchange.ts";

/** Seconds a program may keep a service's virtual IP. It is stable, so this only says how fast a new or deleted name is seen. */
export const MESH_NAME_TTL_SECONDS = 5;
/** Queries on their way to resolvers, over all programs of the host; more are answered SERVFAIL. */
export const FORWARDS_MAX = 512;
const HEADER_BYTES = 12;

export interface ServiceAddresses {
  readonly vip4: string | undefined;
  readonly vip6: string | undefined;
}
/** `name` is lower case, without final dot. */
export type ResolveName = (name: string) => ServiceAddresses | "not_ours";

export interface NameServerConfig {
  /** Of resolv.conf, in its order. */
  readonly resolvers: readonly string[];
  readonly hasIpv6: boolean;
}
export interface NameServerDeps {
  readonly resolveName: ResolveName;
  readonly forwarders: Forwarders;
  readonly timers: Timers;
  /** 16 bits from a cryptographic source. */
  randomId(): number;
}

export interface NameCounts {
  mesh: number;
  forwarded: number;
  /** No resolver answered in time, or too many questions at once. */
  failed: number;
  /** Not a query, or not readable as one. */
  ignored: number;
}

export type Reply = (message: Uint8Array) => void;

export class NameServer {
  readonly counts: NameCounts = { mesh: 0, forwarded: 0, failed: 0, ignored: 0 };
  readonly #config: NameServerConfig;
  readonly #deps: NameServerDeps;
  #forwards = 0;

  constructor(config: NameServerConfig, deps: NameServerDeps) {
    this.#config = config;
    this.#deps = deps;
  }

  get pending(): number {
    return this.#forwards;
  }

  /** `asked` is the resolver that the program meant: it is tried first. The bytes are read during the call only; `reply`
   *  follows once, now or later, or never for what is no query. */
  answer(
    bytes: Uint8Array,
    transport: "udp" | "tcp",
    asked: string | undefined,
    reply: Reply,
  ): void {
    const query = parseQuery(bytes, 0, bytes.length);
    const ours = query.ok && query.value.isPlain ? this.#resolve(query.value) : undefined;
    if (query.ok && ours !== undefined) {
      this.counts.mesh++;
      const answer = {
        is: "addresses",
        addresses: ours,
        ttlSeconds: MESH_NAME_TTL_SECONDS,
      } as const;
      reply(writeAnswer(query.value, answer, transport));
      return;
    }
    const questionEnd = findQuestionEnd(bytes);
    if (questionEnd === undefined || (!query.ok && query.error !== "malformed")) {
      this.counts.ignored++;
      return;
    }
    const fail = (): void => {
      this.counts.failed++;
      if (query.ok) reply(writeAnswer(query.value, { is: "server_failure" }, transport));
    };
    if (this.#forwards >= FORWARDS_MAX) fail();
    else
      this.#forward(new Uint8Array(bytes), questionEnd, transport, this.#order(asked), reply, fail);
  }

  /** Addresses of the query's type, none for other types of a name of ours; undefined: not our name. */
  #resolve(query: DnsQuery): string[] | undefined {
    const found = this.#deps.resolveName(query.name);
    if (found === "not_ours") return undefined;
    const vip6 = this.#config.hasIpv6 ? found.vip6 : undefined;
    const address = query.type === "A" ? found.vip4 : query.type === "AAAA" ? vip6 : undefined;
    return address === undefined ? [] : [address];
  }

  #order(asked: string | undefined): string[] {
    const { resolvers } = this.#config;
    if (asked === undefined || !resolvers.includes(asked)) return [...resolvers];
    return [asked, ...resolvers.filter((resolver) => resolver !== asked)];
  }

  #forward(
    query: Uint8Array,
    questionEnd: number,
    transport: "udp" | "tcp",
    resolvers: readonly string[],
    reply: Reply,
    fail: () => void,
  ): void {
    this.#forwards++;
    const ask = (turn: number): void => {
      const resolver = resolvers[turn];
      if (resolver === undefined) {
        this.#forwards--;
        fail();
        return;
      }
      const next = (): void => ask(turn + 1);
      new ResolverExchange(query, questionEnd, this.#deps.randomId(), {
        timers: this.#deps.timers,
        next,
        done: (message) => {
          this.#forwards--;
          this.counts.forwarded++;
          reply(message);
        },
      }).begin((events) => this.#deps.forwarders.open(resolver, transport, events));
    };
    ask(0);
  }
}

/** End of the one question; undefined: no query with one question. Reads no further: what follows is the resolver's to judge. */
function findQuestionEnd(bytes: Uint8Array): number | undefined {
  if (bytes.length < HEADER_BYTES + 5 || ((bytes[2] as number) & 0x80) !== 0) return undefined;
  if (bytes[4] !== 0 || bytes[5] !== 1) return undefined;
  let at = HEADER_BYTES;
  for (;;) {
    const length = bytes[at];
    if (length === undefined || length > 63) return undefined;
    at += length + 1;
    if (length === 0) break;
  }
  return at + 4 <= bytes.length ? at + 4 : undefined;
}

/** Names as this host sees them. Made once per snapshot. */
export function namesOf(snapshot: Pick<Snapshot, "services">): ResolveName {
  const table = new Map<string, ServiceAddresses>();
  for (const service of snapshot.services) {
    if (service.vip4 === undefined && service.vip6 === undefined) continue;
    // The first service of a name keeps it: the compiler orders them.
    for (const name of service.names) {
      if (!table.has(name)) table.set(name, { vip4: service.vip4, vip6: service.vip6 });
    }
  }
  return (name) => table.get(name) ?? "not_ours";
}
