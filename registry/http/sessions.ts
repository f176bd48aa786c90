// WebSocket upgrades on /v1/session: the door between the listener and the hub. Only a member host's own certificate opens it.
import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";
import { type WebSocket, WebSocketServer } from "ws";
import type { ApiError } from "../../agent/api/session.ts";
import type { Timers } from "../../agent/base/clock.ts";
import type { Log } from "../../agent/base/log.ts";
import { AGENT_MESSAGE_BYTES_MAX } from "../push/agent-messages.ts";
import type { AgentPeer, SessionSocket } from "../push/agent-session.ts";
import type { Hub } from "../push/hub.ts";
import type { Mesh } from "../push/mesh.ts";
import { type Store, StoreUnavailable } from "../store/store.ts";
import { hostOf } from "./agents.ts";
import { bindingsOf } from "./listener.ts";

export const SESSION_PATH = "/v1/session";
/** A dead agent is noticed after at most twice this. */
export const PING_INTERVAL_MS = 10_000;

export interface SessionsDeps {
  readonly hub: Hub;
  readonly mesh: Mesh;
  readonly store: Store;
  readonly timers: Timers;
  readonly log: Log;
}

export class Sessions {
  readonly #trustDomain: string;
  readonly #deps: SessionsDeps;
  readonly #server = new WebSocketServer({ noServer: true, maxPayload: AGENT_MESSAGE_BYTES_MAX });

  constructor(config: { readonly trustDomain: string }, deps: SessionsDeps) {
    this.#trustDomain = config.trustDomain;
    this.#deps = deps;
  }

  upgrade(request: IncomingMessage, socket: TLSSocket, head: Buffer): void {
    this.#admit(request, socket, head).catch((cause: unknown) => {
      if (cause instanceof StoreUnavailable) {
        // Its address is new and cannot be stored now; it comes again until it can.
        this.#deps.log.warn("a session waits for the store", { cause: cause.message });
        refuse(socket, 503, "store_unavailable", cause.message);
        return;
      }
      this.#deps.log.error("a session could not start: this is a bug", { cause: String(cause) });
      socket.destroy();
    });
  }

  async #admit(request: IncomingMessage, socket: TLSSocket, head: Buffer): Promise<void> {
    if (request.url !== SESSION_PATH) {
      refuse(socket, 404, "no_such_route", "there is no session here");
      return;
    }
    const { peer, remoteAddress } = bindingsOf(socket);
    const host = await hostOf(peer, this.#trustDomain, this.#deps.store);
    if (!host.ok) {
      refuse(socket, 401, "not_a_host", host.error);
      return;
    }
    const { name } = host.value;
    if (peer.is === "verified") this.#deps.hub.noteCertificate(name, peer.notAfterMs);
    if (remoteAddress !== undefined) await this.#deps.mesh.observe(name, remoteAddress);
    if (socket.destroyed) return;
    const localAddress = socket.localAddress?.replace(/^::ffff:/, "");
    this.#server.handleUpgrade(request, socket, head, (ws) =>
      this.#serve(ws, { host: name, remoteAddress, localAddress }),
    );
  }

  #serve(ws: WebSocket, who: AgentPeer): void {
    const { host } = who;
    const session = this.#deps.hub.connect(who, socketOf(ws));
    if (session === undefined) {
      ws.close(1013, "this server has all the sessions it takes");
      return;
    }
    const stopPinging = keepAlive(ws, this.#deps.timers);
    ws.on("message", (data, isBinary) => {
      if (isBinary) session.close(1003, "messages are text");
      else session.receive(String(data));
    });
    ws.on("error", (cause) =>
      this.#deps.log.debug("session error", { host, cause: cause.message }),
    );
    ws.on("close", () => {
      stopPinging();
      session.ended();
    });
  }
}

const socketOf = (ws: WebSocket): SessionSocket => ({
  send: (text) =>
    new Promise((resolve, reject) => {
      ws.send(text, (cause) => (cause ? reject(cause) : resolve()));
    }),
  close: (code, reason) => ws.close(code, reason),
});

/** Returns how to stop. An unanswered ping ends the connection without a closing handshake nobody would answer. */
export function keepAlive(ws: WebSocket, timers: Timers): () => void {
  let isAnswered = true;
  const tick = (): void => {
    if (!isAnswered) {
      ws.terminate();
      return;
    }
    isAnswered = false;
    ws.ping();
    timer = timers.after(PING_INTERVAL_MS, tick);
  };
  let timer = timers.after(PING_INTERVAL_MS, tick);
  ws.on("pong", () => {
    isAnswered = true;
  });
  return () => timer.cancel();
}

const REASONS = { 401: "Unauthorized", 404: "Not Found", 503: "Service Unavailable" } as const;

function refuse(
  socket: TLSSocket,
  status: keyof typeof REASONS,
  code: string,
  message: string,
): void {
  const body = JSON.stringify({ error: { code, message } } satisfies ApiError);
  socket.end(
    `HTTP/1.1 ${status} ${REASONS[status]}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}
