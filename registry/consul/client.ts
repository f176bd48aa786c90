// Consul's HTTP API as far as we use it, through the npm `consul` client, with what that client leaves open decided here: a
// timeout on every request, blocking queries that can be given up, failures in three kinds with the next action, no token in any
// text. https://developer.hashicorp.com/consul/api-docs
import { EventEmitter } from "node:events";
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import Consul from "consul";

/** A server without a leader holds a request for 7 s before it answers 500: ours ends first, and says the same. */
export const REQUEST_TIMEOUT_MS = 5_000;
/** How long Consul may hold a blocking query; it adds up to a sixteenth of jitter. */
export const BLOCKING_WAIT_MS = 30_000;
const BLOCKING_TIMEOUT_MS = BLOCKING_WAIT_MS * (1 + 1 / 16) + REQUEST_TIMEOUT_MS;
/** Operations of one transaction. */
export const TRANSACTION_OPERATIONS_MAX = 64;
const SOCKETS_MAX = 64;

export interface ConsulConfig {
  /** `http://HOST:PORT` or `https://HOST:PORT`. */
  readonly url: string;
  readonly token?: string | undefined;
  /** PEM; default: the runtime's roots. */
  readonly caPem?: string | undefined;
}

/** `unreachable`: nobody answered, or a server that cannot reach its leader: what was asked may have been done all the same.
 *  `refused`: the token may not do this. `unexpected`: an answer that a Consul of our kind does not give. */
export class ConsulFailure extends Error {
  readonly is: "unreachable" | "refused" | "unexpected";
  /** What the operator does next. */
  readonly next: string;

  constructor(is: ConsulFailure["is"], message: string, next: string) {
    super(message);
    this.is = is;
    this.next = next;
  }
}

export interface Entry {
  readonly key: string;
  readonly value: string;
  readonly modifyIndex: number;
  /** The session that holds the key's lock. */
  readonly session: string | undefined;
}

export interface Indexed<T> {
  readonly value: T;
  /** X-Consul-Index: what a blocking query is to wait beyond; undefined when the answer names none. */
  readonly index: number | undefined;
}

export type KvOperation =
  | { readonly verb: "cas"; readonly key: string; readonly value: string; readonly index: number }
  | { readonly verb: "set"; readonly key: string; readonly value: string }
  | { readonly verb: "delete"; readonly key: string };

/** Ends a blocking query that is under way. */
export class Cancel {
  readonly emitter = Object.assign(new EventEmitter(), {
    includeResponse: true,
    canceled: false,
  });

  get isCancelled(): boolean {
    return this.emitter.canceled;
  }

  cancel(): void {
    this.emitter.canceled = true;
    this.emitter.emit("cancel");
  }
}

/** What the package's own types leave out. */
export type Options = Readonly<Record<string, unknown>>;
export type Call = (options: Options) => Promise<unknown>;
interface WireResponse {
  readonly statusCode: number;
  readonly headers: { readonly [name: string]: string | undefined };
  readonly body: unknown;
}

export class ConsulClient {
  /** As given, for messages: it holds no secret. */
  readonly url: string;
  readonly #consul: Consul;
  readonly #agent: HttpAgent | HttpsAgent;

  constructor({ url, token, caPem }: ConsulConfig) {
    const { hostname, port, protocol } = parseConsulUrl(url);
    this.url = url;
    const secure = protocol === "https:";
    const pool = { keepAlive: true, maxSockets: SOCKETS_MAX };
    this.#agent = secure
      ? new HttpsAgent({ ...pool, ...(caPem === undefined ? {} : { ca: caPem }) })
      : new HttpAgent(pool);
    this.#consul = new Consul({
      host: hostname,
      port,
      secure,
      agent: this.#agent,
      ...(token === undefined ? {} : { defaults: { token } }),
      ...(secure && caPem !== undefined ? { ca: caPem } : {}),
    });
  }

  /** `index`: blocks until the key changed beyond it, or BLOCKING_WAIT_MS. */
  getKey(key: string, blocking?: Blocking): Promise<Indexed<Entry | undefined>> {
    const { kv } = this.#consul;
    return this.#indexed("read", kv.get.bind(kv) as unknown as Call, { key }, blocking, entryOf);
  }

  /** Every entry below a prefix. A token that may not read some is not told so: they are missing. */
  getBelow(key: string, blocking?: Blocking): Promise<Indexed<readonly Entry[]>> {
    const { kv } = this.#consul;
    const options = { key, recurse: true };
    return this.#indexed(
      "read",
      kv.get.bind(kv) as unknown as Call,
      options,
      blocking,
      (body): readonly Entry[] =>
        Array.isArray(body) ? body.flatMap((item) => entryOf(item) ?? []) : [],
    );
  }

  /** Names only. */
  async keysBelow(key: string): Promise<readonly string[]> {
    const { kv } = this.#consul;
    try {
      const keys: unknown = await (kv.keys.bind(kv) as unknown as Call)({
        key,
        timeout: REQUEST_TIMEOUT_MS,
      });
      return Array.isArray(keys) ? keys.map(String) : [];
    } catch (cause) {
      if (statusOf(cause) === 404) return [];
      throw this.#failure("list keys", cause);
    }
  }

  async putKey(key: string, value: string): Promise<void> {
    await this.#plain("write", this.#consul.kv.set.bind(this.#consul.kv) as unknown as Call, {
      key,
      value,
    });
  }

  /** False: another session holds the lock, or its delay has not passed. A held lock's value may be written again. */
  async acquire(key: string, value: string, session: string): Promise<boolean> {
    const { kv } = this.#consul;
    const options = { key, value, acquire: session };
    // A refused lock is `undefined` here, not false.
    return (await this.#plain("lock", kv.set.bind(kv) as unknown as Call, options)) === true;
  }

  /** `ttlMs`: 10 s at least; Consul takes up to twice that to notice the end. `delete`: keys it holds go with it. */
  async createSession(options: {
    readonly name: string;
    readonly ttlMs: number;
    readonly behavior: "release" | "delete";
  }): Promise<string> {
    const { session } = this.#consul;
    const made = await this.#plain(
      "create a session",
      session.create.bind(session) as unknown as Call,
      {
        name: options.name,
        ttl: `${Math.ceil(options.ttlMs / 1000)}s`,
        behavior: options.behavior,
        lockdelay: "1s",
      },
    );
    const id = fieldOf(made, "ID");
    if (typeof id !== "string") throw this.#unexpected("a session without an id");
    return id;
  }

  /** False: the session is over, and its locks with it. */
  async renewSession(id: string): Promise<boolean> {
    const { session } = this.#consul;
    try {
      await (session.renew.bind(session) as unknown as Call)({ id, timeout: REQUEST_TIMEOUT_MS });
      return true;
    } catch (cause) {
      if (statusOf(cause) === 404) return false;
      throw this.#failure("renew a session", cause);
    }
  }

  async destroySession(id: string): Promise<void> {
    const { session } = this.#consul;
    await this.#plain("end a session", session.destroy.bind(session) as unknown as Call, { id });
  }

  /** All operations or none; undefined: a `cas` found another index. At most TRANSACTION_OPERATIONS_MAX. Resolves to the index
   *  of what they wrote. */
  async transact(operations: readonly KvOperation[]): Promise<number | undefined> {
    const { transaction } = this.#consul;
    const body = operations.map((operation) => ({ KV: wireOf(operation) }));
    try {
      const done = await (
        transaction.create.bind(transaction) as unknown as (
          list: readonly unknown[],
          options: Options,
        ) => Promise<unknown>
      )(body, { timeout: REQUEST_TIMEOUT_MS });
      const results = fieldOf(done, "Results");
      const index = fieldOf(
        fieldOf(Array.isArray(results) ? results[0] : undefined, "KV"),
        "ModifyIndex",
      );
      // One that only deletes writes nothing.
      return typeof index === "number" ? index : 0;
    } catch (cause) {
      // Also when an ACL refuses one of the operations: the body tells.
      if (statusOf(cause) === 409 && !errorsOf(cause).some((what) => /denied/i.test(what)))
        return undefined;
      throw this.#failure("write in a transaction", cause);
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  /** A call of the package that this file has no method for, with our timeout and our failures. */
  order(what: string, pick: (consul: Consul) => Call, options: Options): Promise<unknown> {
    return this.#plain(what, pick(this.#consul), options);
  }

  /** The same for reads, which may block. */
  query<T>(
    what: string,
    pick: (consul: Consul) => Call,
    options: Options,
    { read, blocking }: { read(body: unknown): T; readonly blocking?: Blocking },
  ): Promise<Indexed<T>> {
    return this.#indexed(what, pick(this.#consul), options, blocking, read);
  }

  async #plain(what: string, call: Call, options: Options): Promise<unknown> {
    try {
      return await call({ ...options, timeout: REQUEST_TIMEOUT_MS });
    } catch (cause) {
      throw this.#failure(what, cause);
    }
  }

  async #indexed<T>(
    what: string,
    call: Call,
    options: Options,
    blocking: Blocking | undefined,
    read: (body: unknown) => T,
  ): Promise<Indexed<T>> {
    const cancel = blocking?.cancel ?? new Cancel();
    const isBlocking = blocking !== undefined && blocking.index > 0;
    try {
      const answer = await call({
        ...options,
        ctx: cancel.emitter,
        timeout: isBlocking ? BLOCKING_TIMEOUT_MS : REQUEST_TIMEOUT_MS,
        ...(isBlocking
          ? { index: String(blocking.index), wait: `${BLOCKING_WAIT_MS / 1000}s` }
          : {}),
      });
      const [response, body] = answer as [WireResponse, unknown];
      const index = Number(response.headers["x-consul-index"]);
      return { value: read(body), index: Number.isSafeInteger(index) ? index : undefined };
    } catch (cause) {
      throw this.#failure(what, cause);
    }
  }

  #failure(what: string, cause: unknown): ConsulFailure {
    if (cause instanceof ConsulFailure) return cause;
    const status = statusOf(cause);
    const at = `Consul at ${this.url}`;
    if (status === undefined || status >= 500 || status === 429) {
      const why = status === undefined ? networkWords(cause) : `it answered ${status}`;
      return new ConsulFailure(
        "unreachable",
        `${at} cannot be reached or has no leader (${why})`,
        "start it, or mend the network to it; the mesh's traffic goes on meanwhile",
      );
    }
    if (status === 401 || status === 403 || errorsOf(cause).some((e) => /denied/i.test(e))) {
      return new ConsulFailure(
        "refused",
        `${at} refuses to ${what}: the token may not (${status})`,
        "give the server's Consul token the rights that docs/operating.md lists, and name its file in --consul-token-file",
      );
    }
    return this.#unexpected(`${status} when asked to ${what}`);
  }

  #unexpected(what: string): ConsulFailure {
    return new ConsulFailure(
      "unexpected",
      `Consul at ${this.url} answered ${what}`,
      "is this address really Consul's HTTP API? see Consul's own log",
    );
  }
}

export interface Blocking {
  /** From the answer before; 0 asks at once. */
  readonly index: number;
  readonly cancel: Cancel;
}

/** Throws in words for an address that is none. Userinfo, paths and queries are refused: a secret there would be logged. */
export function parseConsulUrl(text: string): { hostname: string; port: number; protocol: string } {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isPlain =
    url !== undefined &&
    (url.protocol === "http:" || url.protocol === "https:") &&
    url.username === "" &&
    url.password === "" &&
    url.search === "" &&
    url.hash === "" &&
    url.pathname === "/";
  if (!isPlain) {
    throw new Error(
      "--consul-address: write http://HOST:PORT or https://HOST:PORT and nothing else; the token goes into a file (--consul-token-file)",
    );
  }
  const standard = url.protocol === "https:" ? 443 : 80;
  // A bracketed IPv6 address is dialled without its brackets.
  const hostname = url.hostname.replace(/^\[(.*)\]$/, "$1");
  return { hostname, port: url.port === "" ? standard : Number(url.port), protocol: url.protocol };
}

const wireOf = (operation: KvOperation) => ({
  Verb: operation.verb,
  Key: operation.key,
  ...("value" in operation
    ? { Value: Buffer.from(operation.value, "utf8").toString("base64") }
    : {}),
  ...(operation.verb === "cas" ? { Index: operation.index } : {}),
});

function entryOf(item: unknown): Entry | undefined {
  const key = fieldOf(item, "Key");
  const modifyIndex = fieldOf(item, "ModifyIndex");
  if (typeof key !== "string" || typeof modifyIndex !== "number") return undefined;
  const value = fieldOf(item, "Value");
  const session = fieldOf(item, "Session");
  return {
    key,
    modifyIndex,
    value: typeof value === "string" ? value : "",
    session: typeof session === "string" ? session : undefined,
  };
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null
    ? new Map(Object.entries(value)).get(name)
    : undefined;
}

function statusOf(cause: unknown): number | undefined {
  const response = cause instanceof Error && "response" in cause ? cause.response : undefined;
  const status = fieldOf(response, "statusCode");
  return typeof status === "number" ? status : undefined;
}

/** What a refused transaction says of its operations; Consul's own words, without values. */
function errorsOf(cause: unknown): readonly string[] {
  const response = cause instanceof Error && "response" in cause ? cause.response : undefined;
  const errors = fieldOf(fieldOf(response, "body"), "Errors");
  return Array.isArray(errors) ? errors.map((error) => String(fieldOf(error, "What"))) : [];
}

/** ECONNREFUSED and the like; never the request. */
function networkWords(cause: unknown): string {
  if (cause instanceof Error && "isTimeout" in cause) return "no answer in time";
  const code = fieldOf(cause, "code");
  if (typeof code === "string") return code;
  return cause instanceof Error ? cause.message.slice(0, 200) : "no answer";
}
