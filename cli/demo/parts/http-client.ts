// A plain HTTP/1.1 client that hides nothing: one connection at a time, no pool, no retry, every failure has a name. The load counts
// with it and the checks measure with it; a comfortable client would quietly repair what they look for.
import { connect, type Socket } from "node:net";

export interface HttpReply {
  readonly status: number;
  readonly headers: { readonly [lowerCaseName: string]: string };
  readonly body: string;
}
export interface HttpQuestion {
  readonly method?: string;
  readonly path: string;
  readonly host: string;
  readonly headers?: { readonly [name: string]: string };
  /** Says `connection: close`. */
  readonly isLast?: boolean;
}
/** Where to dial: an address and port, or a Unix socket. */
export type HttpTarget =
  | { readonly host: string; readonly port: number }
  | { readonly path: string };

export type TrafficFailure = "reset" | "timeout" | "refused" | "closed" | "unresolved" | "garbage";
export class TrafficError extends Error {
  readonly failure: TrafficFailure;
  constructor(failure: TrafficFailure, detail: string) {
    super(`${failure}: ${detail}`);
    this.failure = failure;
  }
}

const ANSWER_BYTES_MAX = 4_194_304;

export class HttpConnection {
  readonly #socket: Socket;
  readonly #timeoutMs: number;
  #received = Buffer.alloc(0);
  #hasEnded = false;
  #isLast = false;
  #failure: TrafficError | undefined;
  #wake: () => void = () => undefined;

  private constructor(socket: Socket, timeoutMs: number) {
    this.#socket = socket;
    this.#timeoutMs = timeoutMs;
    socket.setNoDelay(true);
    socket.on("data", (bytes: Buffer) => {
      this.#received = Buffer.concat([this.#received, bytes]);
      this.#wake();
    });
    socket.on("end", () => {
      this.#hasEnded = true;
      this.#wake();
    });
    socket.on("error", (cause) => {
      this.#failure = failureOf(cause);
      this.#wake();
    });
    socket.on("close", () => {
      this.#hasEnded = true;
      this.#wake();
    });
  }

  static open(target: HttpTarget, timeoutMs: number): Promise<HttpConnection> {
    const { promise, resolve, reject } = Promise.withResolvers<HttpConnection>();
    // Not the object as it came: a job that also has a `path` would be taken for a Unix socket.
    const socket = connect(
      "port" in target ? { host: target.host, port: target.port } : { path: target.path },
    );
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new TrafficError("timeout", "no connection"));
    }, timeoutMs);
    socket.once("error", (cause) => {
      clearTimeout(timer);
      reject(failureOf(cause));
    });
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.removeAllListeners("error");
      resolve(new HttpConnection(socket, timeoutMs));
    });
    return promise;
  }

  /** A server that says close answers nothing more (RFC 9112, 9.6), whether its end has arrived here or not. */
  get isUsable(): boolean {
    return !this.#isLast && !this.#hasEnded && this.#failure === undefined;
  }

  /** One request and its whole answer. */
  async ask(question: HttpQuestion): Promise<HttpReply> {
    const fields = Object.entries(question.headers ?? {}).map(
      ([name, value]) => `${name}: ${value}\r\n`,
    );
    if (question.isLast === true) fields.push("connection: close\r\n");
    this.#socket.write(
      `${question.method ?? "GET"} ${question.path} HTTP/1.1\r\nhost: ${question.host}\r\n${fields.join("")}\r\n`,
    );
    const deadline = Date.now() + this.#timeoutMs;
    const head = await this.#readHead(deadline);
    const body = await this.#readBody(head, deadline);
    return { ...head, body: body.toString("utf8") };
  }

  close(): void {
    this.#socket.destroy();
  }

  async #readHead(deadline: number): Promise<Omit<HttpReply, "body">> {
    const end = await this.#until(() => this.#received.indexOf("\r\n\r\n"), deadline);
    const [statusLine = "", ...lines] = this.#take(end + 4)
      .toString("latin1")
      .trimEnd()
      .split("\r\n");
    const status = Number(/^HTTP\/1\.1 ([0-9]{3})/.exec(statusLine)?.[1]);
    if (!Number.isInteger(status)) throw new TrafficError("garbage", statusLine.slice(0, 80));
    const headers: Record<string, string> = {};
    for (const line of lines) {
      const colon = line.indexOf(":");
      headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
    }
    this.#isLast = /\bclose\b/i.test(headers["connection"] ?? "");
    return status === 100 ? this.#readHead(deadline) : { status, headers };
  }

  async #readBody(head: Omit<HttpReply, "body">, deadline: number): Promise<Buffer> {
    if (head.status === 204 || head.status === 304) return Buffer.alloc(0);
    if (head.headers["transfer-encoding"] === "chunked") return this.#readChunks(deadline);
    const length = head.headers["content-length"];
    if (length === undefined) {
      await this.#until(() => (this.#hasEnded ? 0 : -1), deadline);
      return this.#take(this.#received.length);
    }
    await this.#until(() => (this.#received.length >= Number(length) ? 0 : -1), deadline);
    return this.#take(Number(length));
  }

  async #readChunks(deadline: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (;;) {
      const end = await this.#until(() => this.#received.indexOf("\r\n"), deadline);
      const size = Number.parseInt(this.#take(end + 2).toString("latin1"), 16);
      if (!Number.isInteger(size)) throw new TrafficError("garbage", "chunk size");
      await this.#until(() => (this.#received.length >= size + 2 ? 0 : -1), deadline);
      parts.push(this.#take(size + 2).subarray(0, size));
      if (size === 0) return Buffer.concat(parts);
    }
  }

  #take(bytes: number): Buffer {
    const taken = Buffer.from(this.#received.subarray(0, bytes));
    this.#received = this.#received.subarray(bytes);
    return taken;
  }

  /** Waits until `found` gives an index, and gives it. */
  async #until(found: () => number, deadline: number): Promise<number> {
    for (;;) {
      const index = found();
      if (index >= 0) return index;
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#hasEnded)
        throw new TrafficError("closed", "connection closed before the answer's end");
      if (this.#received.length > ANSWER_BYTES_MAX)
        throw new TrafficError("garbage", "answer too long");
      const left = deadline - Date.now();
      if (left <= 0) throw new TrafficError("timeout", "no answer in time");
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}

/** A request on a connection of its own. */
export async function askOnce(
  target: HttpTarget,
  question: HttpQuestion,
  timeoutMs = 5_000,
): Promise<HttpReply> {
  const connection = await HttpConnection.open(target, timeoutMs);
  try {
    return await connection.ask({ ...question, isLast: true });
  } finally {
    connection.close();
  }
}

export function failureOf(cause: unknown): TrafficError {
  if (cause instanceof TrafficError) return cause;
  const code = (cause as { readonly code?: string }).code ?? "";
  const detail = cause instanceof Error ? cause.message : String(cause);
  if (code === "ECONNREFUSED") return new TrafficError("refused", detail);
  if (code === "ETIMEDOUT") return new TrafficError("timeout", detail);
  if (/NOTFOUND|EAI_|ENOENT|DNS|ESERVFAIL/.test(code))
    return new TrafficError("unresolved", detail);
  return new TrafficError("reset", `${code} ${detail}`);
}
