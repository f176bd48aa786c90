// The session's transport: one WebSocket over mTLS (RFC 6455), by npm `ws`, which the runtime replaces by its own.
import type { ClientOptions, WebSocket } from "ws";
import { MESSAGE_BYTES_MAX } from "../api/session.ts";
import type { Connection, ConnectionEvents, Transport } from "./server-session.ts";
import type { ServerTlsOptions } from "./server-tls.ts";

export const SESSION_PATH = "/v1/session";

export class WebSocketTransport implements Transport {
  readonly #tls: () => ServerTlsOptions;

  /** `tls` is asked for each connection, so that a renewed certificate is used by the next. */
  constructor(deps: { tls(): ServerTlsOptions }) {
    this.#tls = deps.tls;
  }

  connect(serverUrl: string, events: ConnectionEvents): Connection {
    let socket: WebSocket | undefined;
    let hasClosed = false;
    const closed = (reason: string): void => {
      if (!hasClosed) events.onClose(reason);
      hasClosed = true;
    };
    // Not before traffic flows: an agent's start would wait for it.
    import("ws")
      .then((ws) => {
        if (!hasClosed) socket = this.#open(ws, serverUrl, { ...events, onClose: closed });
      })
      .catch((cause: unknown) => closed(String(cause)));
    const open = (): WebSocket | undefined =>
      socket !== undefined && socket.readyState === socket.OPEN ? socket : undefined;
    return {
      send: (text) => open()?.send(text),
      ping: () => open()?.ping(),
      close: () => {
        hasClosed = true;
        socket?.terminate();
      },
    };
  }

  #open(
    { WebSocket }: typeof import("ws"),
    serverUrl: string,
    events: ConnectionEvents,
  ): WebSocket {
    const url = new URL(SESSION_PATH, serverUrl);
    url.protocol = "wss:";
    const bounds = { maxPayload: MESSAGE_BYTES_MAX, perMessageDeflate: false };
    // The package's types give checkServerIdentity a boolean; what runs is node:tls's, which takes an Error or undefined.
    const socket = new WebSocket(url, { ...this.#tls(), ...bounds } as unknown as ClientOptions);
    let reason = "";
    socket.on("open", () => events.onOpen());
    socket.on("pong", () => events.onPong());
    socket.on("message", (data: Buffer, isBinary: boolean) => {
      if (isBinary) socket.close(1003, "text only");
      else events.onText(data.toString("utf8"));
    });
    socket.on("error", (error: Error) => {
      reason = error.message;
    });
    socket.on("close", (code: number, text: Buffer) => {
      events.onClose(
        [reason, text.toString("utf8"), `closed ${code}`].filter((part) => part !== "").join(", "),
      );
    });
    return socket;
  }
}
