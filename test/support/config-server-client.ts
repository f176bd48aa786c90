// The other end of a config server's sockets, for tests: requests as operator or host, and an agent's session.
import { type Agent, request } from "node:https";
import { WebSocket } from "ws";
import { SUPPORTED_KINDS } from "../../agent/api/resource.ts";
import type { ApiError, Manifest, ServerMessage, SignedManifest } from "../../agent/api/session.ts";

export interface ServerAddress {
  readonly url: string;
  /** PEM roots. */
  readonly trustBundle: readonly string[];
}
export interface Credentials {
  readonly cert: string;
  readonly key: string;
}
export interface Answer<T> {
  readonly status: number;
  readonly body: T & ApiError;
}

/** One request on a connection of its own, or of `as.agent`. */
export function ask<T>(
  server: ServerAddress,
  method: string,
  path: string,
  body?: unknown,
  as: { readonly operator?: string; readonly host?: Credentials; readonly agent?: Agent } = {},
): Promise<Answer<T>> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      server.url + path,
      {
        method,
        agent: as.agent ?? false,
        ca: [...server.trustBundle],
        ...as.host,
        headers: {
          "content-type": "application/json",
          ...(as.operator === undefined ? {} : { authorization: `Bearer ${as.operator}` }),
        },
      },
      (incoming) => {
        let text = "";
        incoming.on("data", (chunk: Buffer) => {
          text += chunk.toString();
        });
        incoming.on("end", () =>
          resolve({ status: incoming.statusCode ?? 0, body: JSON.parse(text) as T & ApiError }),
        );
      },
    );
    outgoing.on("error", reject);
    outgoing.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
/** An agent's end of the session: every message in order, awaited one by one. */
export class TestAgent {
  readonly socket: WebSocket;
  readonly #queue: ServerMessage[] = [];
  #wake: (() => void) | undefined;
  closed: { code: number; reason: string } | undefined;

  constructor(server: ServerAddress, credentials: Credentials) {
    this.socket = new WebSocket(`${server.url.replace("https", "wss")}/v1/session`, {
      ca: [...server.trustBundle],
      ...credentials,
    });
    this.socket.on("message", (data) => {
      this.#queue.push(JSON.parse(String(data)) as ServerMessage);
      this.#wake?.();
    });
    this.socket.on("close", (code, reason) => {
      this.closed = { code, reason: String(reason) };
      this.#wake?.();
    });
    this.socket.on("error", () => undefined);
  }

  opened(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.on("open", () => resolve());
      this.socket.on("error", reject);
    });
  }

  hello(host: string, parts: object = {}): void {
    this.say({
      type: "hello",
      agentVersion: "0.1.0",
      host,
      runs: SUPPORTED_KINDS,
      epoch: 0,
      version: 0,
      units: [],
      ...parts,
    });
  }

  say(message: object): void {
    this.socket.send(JSON.stringify(message));
  }

  async next(): Promise<ServerMessage | undefined> {
    while (this.#queue.length === 0 && this.closed === undefined) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#queue.shift();
  }

  /** Units that came before it, and the manifest. */
  async manifest(): Promise<{ bodies: string[]; signed: SignedManifest; manifest: Manifest }> {
    const bodies: string[] = [];
    for (;;) {
      const message = await this.next();
      if (message === undefined) throw new Error(`closed: ${this.closed?.reason}`);
      if (message.type === "units") bodies.push(...message.units.map((unit) => unit.body));
      else if (message.type === "manifest") {
        const signed = message.manifest;
        return { bodies, signed, manifest: JSON.parse(signed.payload) as Manifest };
      }
    }
  }
}
