// What the page asks the server: who is logged in, one service, and the live view, which comes again by itself after a break.
import type { LiveView, ServiceView } from "../../../agent/api/edges.ts";

export interface Session {
  readonly operator: string;
  readonly csrf: string;
  readonly expiresAtMs: number;
}

/** `undefined`: nobody is logged in. */
export async function session(): Promise<Session | undefined> {
  const answer = await fetch("/dashboard/session");
  return answer.ok ? ((await answer.json()) as Session) : undefined;
}

/** The server's words when it refuses. */
export async function logIn(token: string): Promise<Session | string> {
  const answer = await fetch("/dashboard/login", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ token }),
  });
  const body = (await answer.json()) as Session & { readonly error?: { readonly message: string } };
  return answer.ok ? body : (body.error?.message ?? `the server answered ${answer.status}`);
}

export async function logOut({ csrf }: Session): Promise<void> {
  await fetch("/dashboard/logout", { method: "POST", headers: { "x-ironmesh-csrf": csrf } });
}

export async function service(host: string): Promise<ServiceView | undefined> {
  const answer = await fetch(`/dashboard/service?host=${encodeURIComponent(host)}`);
  return answer.ok ? ((await answer.json()) as ServiceView) : undefined;
}

export interface LiveEvents {
  onView(view: LiveView): void;
  /** The server does not answer; it is asked again. */
  onLost(): void;
  /** The session is over. */
  onLoggedOut(): void;
}

const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 10_000;
const LOGGED_OUT = 4401;

export class Live {
  #csrf: string;
  readonly #events: LiveEvents;
  #windowSeconds: number;
  #socket: WebSocket | undefined;
  #retryMs = RETRY_MIN_MS;
  #isClosed = false;

  constructor({ csrf }: Session, windowSeconds: number, events: LiveEvents) {
    this.#csrf = csrf;
    this.#windowSeconds = windowSeconds;
    this.#events = events;
    this.#connect();
  }

  set window(seconds: number) {
    this.#windowSeconds = seconds;
    if (this.#socket?.readyState === WebSocket.OPEN)
      this.#socket.send(JSON.stringify({ window: seconds }));
  }

  close(): void {
    this.#isClosed = true;
    this.#socket?.close();
  }

  #connect(): void {
    const query = new URLSearchParams({ csrf: this.#csrf, window: String(this.#windowSeconds) });
    const socket = new WebSocket(`wss://${location.host}/dashboard/live?${query}`);
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => {
      this.#retryMs = RETRY_MIN_MS;
      this.#events.onView(JSON.parse(String(data)) as LiveView);
    });
    socket.addEventListener("close", ({ code }) => {
      if (this.#isClosed) return;
      if (code === LOGGED_OUT) this.#events.onLoggedOut();
      else this.#again();
    });
  }

  /** A refused upgrade does not tell its reason to scripts: ask whether the session still stands. */
  #again(): void {
    this.#events.onLost();
    setTimeout(() => {
      this.#retryMs = Math.min(RETRY_MAX_MS, this.#retryMs * 2);
      session().then(
        (found) => {
          if (this.#isClosed) return;
          if (found === undefined) {
            this.#events.onLoggedOut();
            return;
          }
          this.#csrf = found.csrf; // another tab may have logged in anew
          this.#connect();
        },
        () => this.#isClosed || this.#again(),
      );
    }, this.#retryMs);
  }
}
