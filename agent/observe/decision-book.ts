// One thread's memory of what it refused, so that somebody may ask why. Nothing here is touched by what is allowed. A refusal that is
// like one in the book counts that up and has its id; another takes a place, in a part of the book that its caller's hash chooses: so a
// flood displaces its own records and those of few others. Callers that prove who they are never share a part with those that do not.
import { base32, type DecisionCause, type DecisionRecord, hostTag } from "../api/decisions.ts";
import { bytesOf } from "../base/bytes.ts";
import type { Log } from "../base/log.ts";
import type { Caller, RequestView } from "../policy/request-view.ts";
import type { LocalWorkload } from "../policy/snapshot.ts";

/** Parts for callers with an identity, and for all others. */
const PROVEN_PARTS = 48;
const UNPROVEN_PARTS = 16;
/** Records of a part. In all 1,024 a thread, of 2 KB at most. */
const PLACES = 16;
/** Policies of so many versions are kept for records of them. */
const VERSIONS_KEPT = 4;
/** Of the names of all policies that did not allow it. */
const BY_CHARS_MAX = 1_024;
const METHOD_CHARS_MAX = 32;
const PATH_CHARS_MAX = 512;
const HOST_CHARS_MAX = 256;
/** Headers that policies name: how many are looked at, how many kept, and what of each. */
const NAMED_MAX = 64;
const HEADERS_MAX = 8;
const VALUE_CHARS_MAX = 128;
/** Of a log line for each new record; the others are counted. */
const LINES_PER_SECOND_MAX = 10;

/** By their names these carry secrets, whatever a policy asks of them. */
const SECRET = /auth|cookie|token|secret|passw|credential|session|signature|api-?key|jwt|bearer/;

export interface Denial {
  readonly cause: DecisionCause;
  readonly by: string;
  readonly caller: Caller;
  /** The workload that was called, as it was compiled; undefined: none. */
  readonly workload: LocalWorkload | undefined;
  readonly service: string | undefined;
  readonly destination: { readonly address: string; readonly port: number };
  /** Of a ClientHello, as client-hello.ts reads it: 255 characters at most, and fit for a log. */
  readonly serverName?: string | undefined;
  /** Undefined: a connection. */
  readonly request: RequestView | undefined;
}

export interface DecisionBookConfig {
  /** Of this thread's life; 25 bits. Not secret: whoever may ask has a token. */
  readonly nonce: number;
  /** So that nobody can choose whose part he shares; 32 bits. */
  readonly hashSeed: number;
}

export interface DecisionBookDeps {
  wallMs(): number;
  readonly log: Log;
}

/** What is found in the book. */
export interface Decision {
  readonly record: DecisionRecord;
  /** As it was then; undefined: none, or too many versions ago. */
  readonly workload: LocalWorkload | undefined;
}

type KeptRequest = NonNullable<DecisionRecord["request"]>;

interface Entry {
  readonly id: string;
  readonly denial: Omit<Denial, "workload" | "request">;
  readonly workload: string | undefined;
  /** Undefined once its version is not kept any more. */
  judge: LocalWorkload | undefined;
  readonly request: KeptRequest | undefined;
  readonly generation: number;
  readonly version: Version;
  readonly firstAtMs: number;
  lastAtMs: number;
  times: number;
}

interface Version {
  readonly epoch: number;
  readonly version: number;
}

export class DecisionBook {
  readonly #deps: DecisionBookDeps;
  readonly #hashSeed: number;
  readonly #nonce: string;
  readonly #parts: (Part | undefined)[] = [];
  readonly #named = new WeakMap<LocalWorkload, readonly string[]>();
  #prefix = "";
  #count = 0;
  #generation = 0;
  #version: Version = { epoch: 0, version: 0 };
  #second = 0;
  #lines = 0;
  #unlogged = 0;

  constructor({ nonce, hashSeed }: DecisionBookConfig, deps: DecisionBookDeps) {
    this.#deps = deps;
    this.#hashSeed = hashSeed;
    this.#nonce = base32(nonce % 2 ** 25, 5);
    this.#prefix = `${hostTag("")}-${this.#nonce}-`;
  }

  /** From now on that version decides. */
  follow(host: string, { epoch, version }: Version): void {
    this.#prefix = `${hostTag(host)}-${this.#nonce}-`;
    this.#version = { epoch, version };
    this.#generation++;
    const oldest = this.#generation - VERSIONS_KEPT;
    for (const part of this.#parts)
      for (const entry of part?.entries ?? [])
        if (entry.generation <= oldest) entry.judge = undefined;
  }

  /** Returns the decision's id. */
  note(denial: Denial): string {
    const nowMs = this.#deps.wallMs();
    const part = this.#partOf(denial.caller);
    const request = denial.request && this.#keep(denial.request, denial.workload);
    const known = part.find(denial, request, this.#generation);
    if (known !== undefined) {
      known.times++;
      known.lastAtMs = nowMs;
      return known.id;
    }
    const { workload, request: _, ...rest } = denial;
    const entry: Entry = {
      id: this.#prefix + base32(++this.#count, 1),
      denial: rest,
      workload: workload && `${workload.namespace}/${workload.name}`,
      judge: workload,
      request,
      generation: this.#generation,
      version: this.#version,
      firstAtMs: nowMs,
      lastAtMs: nowMs,
      times: 1,
    };
    part.add(entry);
    this.#log(entry, nowMs);
    return entry.id;
  }

  find(id: string): Decision | undefined {
    for (const part of this.#parts) {
      const entry = part?.entries.find((one) => one.id === id);
      if (entry !== undefined) return { record: recordOf(entry), workload: entry.judge };
    }
    return undefined;
  }

  #partOf({ identity, address }: Caller): Part {
    const hash = hashOf(identity ?? networkOf(address), this.#hashSeed);
    const at =
      identity === undefined ? PROVEN_PARTS + (hash % UNPROVEN_PARTS) : hash % PROVEN_PARTS;
    this.#parts[at] ??= new Part();
    return this.#parts[at];
  }

  #keep(request: RequestView, workload: LocalWorkload | undefined): KeptRequest {
    const { method, path, authority } = request;
    const query = path.indexOf("?");
    const length = query < 0 ? path.length : query;
    const notKept: string[] = [];
    if (length > PATH_CHARS_MAX) notKept.push(":path");
    if (authority.length > HOST_CHARS_MAX) notKept.push(":authority");
    const headers: [string, string][] = [];
    for (const name of workload === undefined ? [] : this.#namedBy(workload)) {
      const value = request.header(name);
      if (value === undefined) continue;
      const isKept =
        headers.length < HEADERS_MAX && value.length <= VALUE_CHARS_MAX && !SECRET.test(name);
      if (isKept) headers.push([name, value]);
      else notKept.push(name);
    }
    return {
      method: kept(method, METHOD_CHARS_MAX),
      path: kept(path, Math.min(length, PATH_CHARS_MAX)),
      host: kept(authority, HOST_CHARS_MAX),
      headers,
      notKept,
    };
  }

  /** Headers that clauses of its policies ask for; most ask for none. */
  #namedBy(workload: LocalWorkload): readonly string[] {
    const known = this.#named.get(workload);
    if (known !== undefined) return known;
    const { deny, allow } = workload.authorization;
    const keys = [...deny, ...allow].flatMap(({ rules }) =>
      rules.flatMap(({ when }) => when.map(({ key }) => key)),
    );
    const names = keys.flatMap((key) => (key.is === "header" ? key.name : []));
    const named = [...new Set(names)].slice(0, NAMED_MAX);
    this.#named.set(workload, named);
    return named;
  }

  /** Not for each refusal: for each that is unlike those in the book, and of those not more than anybody reads. */
  #log(entry: Entry, nowMs: number): void {
    const second = Math.floor(nowMs / 1_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#lines = 0;
    }
    if (++this.#lines > LINES_PER_SECOND_MAX) {
      this.#unlogged++;
      return;
    }
    const { id, denial, workload, request } = entry;
    const { caller, destination, cause, by, service, serverName } = denial;
    this.#deps.log.info("refused", {
      decision: id,
      cause,
      by,
      identity: caller.identity,
      address: caller.address,
      workload,
      service,
      to: destination.address,
      port: destination.port,
      serverName,
      method: request?.method,
      path: request?.path,
      ...(this.#unlogged > 0 ? { refusalsNotLogged: this.#unlogged } : {}),
    });
    this.#unlogged = 0;
  }
}

class Part {
  readonly entries: Entry[] = [];
  /** Where the next goes, over the oldest. */
  #at = 0;

  find(denial: Denial, request: KeptRequest | undefined, generation: number): Entry | undefined {
    for (const entry of this.entries)
      if (entry.generation === generation && isLike(entry, denial, request)) return entry;
    return undefined;
  }

  add(entry: Entry): void {
    this.entries[this.#at] = entry;
    this.#at = (this.#at + 1) % PLACES;
  }
}

/** Would be explained in the same words. */
function isLike({ denial, judge, request }: Entry, to: Denial, asked: KeptRequest | undefined) {
  const { caller, destination } = denial;
  return (
    judge === to.workload &&
    denial.by === to.by &&
    denial.cause === to.cause &&
    caller.identity === to.caller.identity &&
    caller.address === to.caller.address &&
    destination.port === to.destination.port &&
    destination.address === to.destination.address &&
    denial.service === to.service &&
    denial.serverName === to.serverName &&
    isSameRequest(request, asked)
  );
}

function isSameRequest(a: KeptRequest | undefined, b: KeptRequest | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  return (
    a.path === b.path &&
    a.method === b.method &&
    a.host === b.host &&
    a.headers.length === b.headers.length &&
    a.notKept.length === b.notKept.length &&
    a.headers.every(([name, value], i) => b.headers[i]?.[0] === name && b.headers[i]?.[1] === value)
  );
}

function recordOf({ id, denial, workload, request, version, ...rest }: Entry): DecisionRecord {
  const { cause, by, caller, service, destination, serverName } = denial;
  const { firstAtMs, lastAtMs, times } = rest;
  return {
    id,
    cause,
    by: kept(by, BY_CHARS_MAX),
    firstAtMs,
    lastAtMs,
    times,
    ...version,
    from: { identity: caller.identity, address: caller.address },
    to: {
      workload,
      service,
      address: destination.address,
      port: destination.port,
      ...(serverName === undefined ? {} : { serverName }),
    },
    ...(request === undefined ? {} : { request }),
  };
}

const decoder = new TextDecoder();

/** A piece of a text holds on to all of it: what is cut is copied. */
const kept = (text: string, charsMax: number): string =>
  text.length <= charsMax ? text : decoder.decode(bytesOf(text.slice(0, charsMax)));

/** An IPv6 caller has a whole /64 to call from. */
const networkOf = (address: string): string =>
  address.includes(":") ? address.split(":", 4).join(":") : address;

/** FNV-1a over UTF-16 units, mixed at its end: low bits choose the part. */
function hashOf(text: string, seed: number): number {
  let hash = seed | 0;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b);
  return (hash ^ (hash >>> 15)) >>> 0;
}
