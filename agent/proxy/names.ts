// The agent as its host's resolver: names of the mesh from the snapshot, everything else to the resolvers that were asked, as
// it came. It needs no server: with all of them gone, names resolve as before. RFC 1035; RFC 5452 (ids and ports nobody guesses).
import type { Timer, Timers } from "../base/clock.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import { type DnsQuery, parseQuery, writeAnswer } from "../protocol/dns.ts";

/** Seconds a program may keep a service's virtual IP. It is stable, so this only says how fast a new or deleted name is seen. */
export const MESH_NAME_TTL_SECONDS = 5;
/** A resolver that is silent this long is passed over for the next one. */
export const RESOLVER_TIMEOUT_MS = 2_000;
/** Queries on their way to resolvers, over all programs of the host; more are answered SERVFAIL. */
export const FORWARDS_MAX = 512;
const HEADER_BYTES = 12;

export interface ServiceAddresses {
  readonly vip4: string | undefined;
  readonly vip6: string | undefined;
}
/** `name` is lower case, without final dot. */
export type ResolveName = (name: string) => ServiceAddresses | "not_ours";

/** One question on its way to one resolver, from a source of its own. */
export interface Forward {
  send(message: Uint8Array): void;
  close(): void;
}
export interface ForwardEvents {
  /** From the resolver's address and port 53, or it would not be here. The bytes are valid during the call only. */
  onMessage(message: Uint8Array): void;
  /** It cannot be reached. */
  onFailed(): void;
}
export interface Forwarders {
  /** UDP from a fresh random port, or a TCP connection; undefined: not even a socket could be had. */
  open(resolver: string, transport: "udp" | "tcp", events: ForwardEvents): Forward | undefined;
}

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
      new Exchange(query, questionEnd, this.#deps.randomId(), {
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

/** One question to one resolver: ends once, with its answer or with `next`. */
class Exchange implements ForwardEvents {
  readonly #query: Uint8Array;
  readonly #questionEnd: number;
  readonly #id: number;
  readonly #to: { timers: Timers; next(): void; done(message: Uint8Array): void };
  #forward: Forward | undefined;
  #timer: Timer | undefined;
  #isOver = false;

  constructor(
    query: Uint8Array,
    questionEnd: number,
    id: number,
    to: { timers: Timers; next(): void; done(message: Uint8Array): void },
  ) {
    this.#query = query;
    this.#questionEnd = questionEnd;
    this.#id = id;
    this.#to = to;
  }

  begin(open: (events: ForwardEvents) => Forward | undefined): void {
    this.#timer = this.#to.timers.after(RESOLVER_TIMEOUT_MS, () => this.onFailed());
    this.#forward = open(this);
    if (this.#forward === undefined) {
      this.onFailed();
      return;
    }
    const message = new Uint8Array(this.#query);
    message[0] = this.#id >> 8;
    message[1] = this.#id & 255;
    this.#forward.send(message);
  }

  onMessage(message: Uint8Array): void {
    if (this.#isOver || !this.#answers(message)) return; // a forgery, or late: keep waiting
    const answer = new Uint8Array(message); // slice() of a Buffer would share its memory
    answer[0] = this.#query[0] as number;
    answer[1] = this.#query[1] as number;
    this.#end();
    this.#to.done(answer);
  }

  onFailed(): void {
    if (this.#isOver) return;
    this.#end();
    this.#to.next();
  }

  #end(): void {
    this.#isOver = true;
    this.#timer?.cancel();
    this.#forward?.close();
  }

  /** Same id, a response, and our question letter for letter (so 0x20 case counts as entropy too). A refusal may leave the
   *  question out (RFC 1035 4.1.1 on format errors). */
  #answers(message: Uint8Array): boolean {
    if (message.length < HEADER_BYTES) return false;
    const id = ((message[0] as number) << 8) | (message[1] as number);
    if (id !== this.#id || ((message[2] as number) & 0x80) === 0) return false;
    const questions = ((message[4] as number) << 8) | (message[5] as number);
    if (questions === 0) return ((message[3] as number) & 15) !== 0;
    if (questions !== 1 || message.length < this.#questionEnd) return false;
    for (let i = HEADER_BYTES; i < this.#questionEnd; i++)
      if (message[i] !== this.#query[i]) return false;
    return true;
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
