// The page's live view: one WebSocket, on which the server pushes the graph of the window that the page asked for. The upgrade needs
// the page's origin, a session's cookie and that session's CSRF word: another site can bring the cookie along, but none of the others.
import type { IncomingMessage } from "node:http";
import type { TLSSocket } from "node:tls";
import { parse } from "hono/utils/cookie";
import { type WebSocket, WebSocketServer } from "ws";
import type { GraphView, LiveView } from "../../agent/api/edges.ts";
import type { Timer, Timers } from "../../agent/base/clock.ts";
import type { Log } from "../../agent/base/log.ts";
import { parseWindow } from "../http/graph.ts";
import { keepAlive } from "../http/sessions.ts";
import type { Hub } from "../push/hub.ts";
import { areEqualTexts, COOKIE_NAME, isSameOrigin } from "./guard.ts";
import type { OperatorSession, OperatorSessions } from "./sessions.ts";

const LIVE_PATH = "/dashboard/live";
export const LIVE_INTERVAL_MS = 2_000;
/** Open pages; one more is told to try later. */
export const LIVE_MAX = 64;
const MESSAGE_BYTES_MAX = 1_024;
/** A page that takes no more than this misses pushes until it does. */
const UNSENT_BYTES_MAX = 1_048_576;

/** WebSocket close codes of ours. */
export const LIVE_CLOSE = { nonsense: 4400, loggedOut: 4401 } as const;

export const isLive = ({ url = "" }: IncomingMessage): boolean =>
  url === LIVE_PATH || url.startsWith(`${LIVE_PATH}?`);

export interface LiveDeps {
  readonly sessions: OperatorSessions;
  readonly hub: Hub;
  graph(windowSeconds: number): GraphView;
  readonly timers: Timers;
  readonly log: Log;
}

interface Viewer {
  readonly ws: WebSocket;
  readonly secret: string;
  windowSeconds: number;
}

export class Live {
  readonly #deps: LiveDeps;
  readonly #server = new WebSocketServer({ noServer: true, maxPayload: MESSAGE_BYTES_MAX });
  readonly #viewers = new Set<Viewer>();
  #timer: Timer | undefined;

  constructor(deps: LiveDeps) {
    this.#deps = deps;
  }

  upgrade(request: IncomingMessage, socket: TLSSocket, head: Buffer): void {
    this.#admit(request, socket, head).catch((cause: unknown) => {
      this.#deps.log.error("a page could not be served: this is a bug", { cause: String(cause) });
      socket.destroy();
    });
  }

  close(): void {
    this.#timer?.cancel();
    for (const { ws } of this.#viewers) ws.close(1001, "server is stopping");
  }

  async #admit(request: IncomingMessage, socket: TLSSocket, head: Buffer): Promise<void> {
    const { headers } = request;
    const query = new URLSearchParams(request.url?.slice(LIVE_PATH.length + 1));
    const fetchSite = headers["sec-fetch-site"];
    const isOurs = isSameOrigin({
      origin: headers.origin,
      host: headers.host,
      fetchSite: typeof fetchSite === "string" ? fetchSite : undefined,
    });
    if (!isOurs) return refuse(socket, "403 Forbidden");
    const secret = parse(headers.cookie ?? "", COOKIE_NAME)[COOKIE_NAME];
    const session = await this.#deps.sessions.find(secret);
    if (session === undefined || secret === undefined) return refuse(socket, "401 Unauthorized");
    if (!isAsked(query, session)) return refuse(socket, "403 Forbidden");
    const window = parseWindow(query.get("window") ?? undefined);
    if (!window.ok) return refuse(socket, "400 Bad Request");
    if (this.#viewers.size >= LIVE_MAX) return refuse(socket, "503 Service Unavailable");
    if (socket.destroyed) return;
    this.#server.handleUpgrade(request, socket, head, (ws) =>
      this.#serve({ ws, secret, windowSeconds: window.value }),
    );
  }

  #serve(viewer: Viewer): void {
    const { ws } = viewer;
    this.#viewers.add(viewer);
    ws.on("message", (data, isBinary) => {
      const window = isBinary ? undefined : windowOf(String(data));
      if (window === undefined) ws.close(LIVE_CLOSE.nonsense, "not a window");
      else {
        viewer.windowSeconds = window;
        this.#pushSoon(0);
      }
    });
    ws.on("error", () => ws.terminate());
    const stopPinging = keepAlive(ws, this.#deps.timers);
    ws.on("close", () => {
      stopPinging();
      this.#viewers.delete(viewer);
    });
    this.#pushSoon(0);
  }

  #pushSoon(afterMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#deps.timers.after(afterMs, () => {
      this.#push()
        .catch((cause: unknown) =>
          this.#deps.log.warn("open pages were not told; tried again", { cause: String(cause) }),
        )
        .finally(() => {
          if (this.#viewers.size > 0) this.#pushSoon(LIVE_INTERVAL_MS);
        });
    });
  }

  /** The session first: who was logged out sees nothing more. */
  async #push(): Promise<void> {
    const { hub, sessions, graph } = this.#deps;
    const mesh = {
      version: hub.latest?.position.version ?? 0,
      hosts: hub.latest?.facts.hostCount ?? 0,
      connected: hub.connectedHosts.length,
    };
    const texts = new Map<number, string>();
    for (const viewer of [...this.#viewers]) {
      const { ws, secret, windowSeconds } = viewer;
      if ((await sessions.find(secret)) === undefined) {
        ws.close(LIVE_CLOSE.loggedOut, "log in again");
        continue;
      }
      if (ws.bufferedAmount > UNSENT_BYTES_MAX) continue;
      const text =
        texts.get(windowSeconds) ??
        JSON.stringify({ graph: graph(windowSeconds), mesh } satisfies LiveView);
      texts.set(windowSeconds, text);
      ws.send(text, () => undefined); // a connection that is gone tells by its close
    }
  }
}

const isAsked = (query: URLSearchParams, { csrf }: OperatorSession): boolean =>
  areEqualTexts(csrf, query.get("csrf") ?? undefined);

/** `{"window": SECONDS}` and nothing else. */
function windowOf(text: string): number | undefined {
  try {
    const value = JSON.parse(text) as { readonly window?: unknown } | null;
    if (typeof value?.window !== "number") return undefined;
    const parsed = parseWindow(String(value.window));
    return parsed.ok ? parsed.value : undefined;
  } catch {
    return undefined; // not JSON
  }
}

function refuse(socket: TLSSocket, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`);
}
