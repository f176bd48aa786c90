// Every kind of exchange with HTTP/2 on one side, small enough that each of its steps can be made to fail: of exchange-scenarios.ts the
// counterpart for connections that carry streams.
import { createHash } from "node:crypto";
import { CODE, FLAG, FRAME, SETTING } from "../../agent/protocol/http2/frame.ts";
import { type Fields, GET_FIELDS, Http2End, POST_FIELDS } from "./http2-end.ts";
import type { ClientHop, HopOptions, ServerHop } from "./http2-hop.ts";

const LONG = "x".repeat(60_000);
const GET = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

export type AnyHop = ServerHop | ClientHop;

export interface Scenario<H extends AnyHop> {
  readonly says: readonly ((hop: H) => void)[];
  readonly options?: HopOptions;
  /** What an app of HTTP/2 says to the nth request that is whole. */
  readonly answer?: (app: Http2End, id: number, nth: number) => void;
  /** What the client has when nothing fails; default: the answer to stream 1 or 3. */
  readonly ends?: string;
  /** The app takes WebSockets. */
  readonly offersTunnels?: true;
  /** Its client is cut, and what had not left by then is lost with it. */
  readonly isCut?: true;
}

/** An app that answers as it is told. */
export class App extends Http2End {
  readonly #answer: (app: Http2End, id: number) => void;
  #read = 0;

  constructor(answer: (app: Http2End, id: number) => void, offersTunnels: boolean) {
    super("server");
    if (offersTunnels) this.setting(SETTING.enableConnectProtocol, 1);
    this.#answer = answer;
  }

  override onData(...event: Parameters<Http2End["onData"]>): void {
    super.onData(...event);
    for (; this.#read < this.seen.length; this.#read++) {
      const id = /^(?:HEADERS|DATA) (\d+).* END$/.exec(this.seen[this.#read] ?? "")?.[1];
      if (id !== undefined) this.#answer(this, Number(id));
    }
  }
}

export const served = (app: Http2End, id: number): void => {
  app.headers(id, [[":status", "200"]], false);
  app.data(id, "ok", true);
};

const CHUNKED = `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${"ea60\r\n"}${LONG}\r\n`;
const WEBSOCKET: Fields = [
  [":method", "CONNECT"],
  [":protocol", "websocket"],
  ...GET_FIELDS.slice(1),
  ["sec-websocket-version", "13"],
];
const acceptOf = (text: string): string => {
  const key = /sec-websocket-key: (.*)\r\n/.exec(text)?.[1] ?? "";
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
};
const UPGRADE =
  "GET / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
const TRAILERS: Fields = [["x-end", "1"]];

export const OF_CLIENTS: Readonly<Record<string, Scenario<ServerHop>>> = {
  "one request after another": {
    says: [
      ({ client }) => client.headers(1, GET_FIELDS),
      ({ client }) => client.headers(3, GET_FIELDS),
    ],
  },
  "streams beside one another": {
    says: [
      ({ client }) => {
        for (const id of [1, 3, 5]) client.headers(id, GET_FIELDS);
      },
    ],
  },
  "content and trailers, both ways": {
    ends: "okHEADERS x=1 END",
    says: [
      ({ client }) => client.headers(1, POST_FIELDS, false),
      ({ client }) => client.data(1, "abc"),
      ({ client }) => client.headers(1, TRAILERS),
    ],
    options: {
      answers: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx: 1\r\n\r\n",
    },
  },
  "content as long as a window, both ways": {
    ends: `${LONG}${LONG} END`,
    says: [
      ({ client }) => {
        client.headers(1, POST_FIELDS, false);
        for (let at = 0; at < LONG.length; at += 15_000)
          client.data(1, LONG.slice(at, at + 15_000));
        client.frame(FRAME.data, FLAG.endStream, 1);
      },
    ],
    options: { answers: `${CHUNKED}ea60\r\n${LONG}\r\n0\r\n\r\n` },
  },
  "a request that its client cancels": {
    ends: "GOAWAY",
    says: [
      ({ client }) => client.headers(1, POST_FIELDS, false),
      ({ client }) => client.word(FRAME.rstStream, 1, CODE.cancel),
    ],
  },
  "an answer that breaks off": {
    ends: `${LONG}RST ${CODE.internalError}`,
    says: [({ client }) => client.headers(1, GET_FIELDS), ({ apps }) => apps[0]?.stream?.reset()],
    options: { answers: CHUNKED },
  },
  "an answer before the request is whole": {
    ends: "413 content-length=0 END",
    says: [
      ({ client }) => client.headers(1, POST_FIELDS, false),
      ({ apps }) => apps[0]?.send("HTTP/1.1 413 Large\r\ncontent-length: 0\r\n\r\n"),
      ({ client }) => client.data(1, "abc", true),
    ],
  },
  "a client that goes away": {
    says: [
      ({ client }) => client.headers(1, GET_FIELDS),
      ({ client }) => client.frame(FRAME.goaway, 0, 0, new Uint8Array(8)),
    ],
  },
  "an agent that drains": {
    says: [
      ({ client }) => client.headers(1, GET_FIELDS),
      ({ host }) => host.plane.drain(),
      ({ client }) => client.headers(3, GET_FIELDS),
    ],
  },
  "an answer that its client is slow to take": {
    ends: `${LONG} END`,
    says: [
      ({ client }) => {
        client.end.stream?.pause();
        client.headers(1, GET_FIELDS);
      },
      ({ client }) => client.end.stream?.resume(),
    ],
    options: { answers: `${CHUNKED}0\r\n\r\n` },
  },
  "an answer longer than all that may wait for its client, which gave credit for it": {
    ends: `${LONG.repeat(4)} END`,
    says: [
      ({ client }) => {
        client.isPolite = false; // no more credit, which would wake who waits
        client.setting(SETTING.initialWindowSize, 1_000_000);
        client.word(FRAME.windowUpdate, 0, 1_000_000);
        client.headers(1, GET_FIELDS);
      },
    ],
    options: {
      windowBytes: 1_000_000, // so that a flush leaves nothing, and no event follows
      answers: `HTTP/1.1 200 OK\r\ncontent-length: ${4 * LONG.length}\r\n\r\n${LONG.repeat(4)}`,
    },
  },
  "a request that is malformed, beside one that is not": {
    ends: `RST ${CODE.protocolError}"],["3","HEADERS :status=200`,
    says: [
      ({ client }) => {
        client.headers(1, [...GET_FIELDS, ["X", "1"]]);
        client.headers(3, GET_FIELDS);
      },
    ],
  },
  "a WebSocket, both of whose ends say that they end": {
    ends: "pong END",
    says: [
      ({ client }) => client.headers(1, WEBSOCKET, false),
      ({ apps }) => {
        const [app] = apps;
        app?.send(
          `HTTP/1.1 101 Up\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${acceptOf(app.text)}\r\n\r\n`,
        );
      },
      ({ client }) => client.data(1, "ping"),
      ({ apps }) => apps[0]?.send("pong"),
      ({ client }) => client.frame(FRAME.data, FLAG.endStream, 1),
      ({ apps }) => apps[0]?.end(),
    ],
    options: { answers: false },
  },
  "a WebSocket in which nobody says anything": {
    ends: "HEADERS :status=200",
    says: [
      ({ client }) => client.headers(1, WEBSOCKET, false),
      ({ apps }) => {
        const [app] = apps;
        app?.send(
          `HTTP/1.1 101 Up\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${acceptOf(app.text)}\r\n\r\n`,
        );
      },
    ],
    options: { answers: false },
    isCut: true,
  },
};

/** As it stands in JSON. */
const SERVED = "ok\\r\\n0\\r\\n";

export const OF_APPS: Readonly<Record<string, Scenario<ClientHop>>> = {
  "one request after another": {
    ends: SERVED,
    says: [({ client }) => client.send(GET), ({ client }) => client.send(GET)],
  },
  "clients beside one another": {
    ends: SERVED,
    says: [
      (hop) => {
        const other = hop.dial();
        other.send(GET);
        hop.client.send(GET);
      },
    ],
  },
  "chunks and trailers": {
    ends: "ok\\r\\n0\\r\\nx-end: 1",
    says: [
      ({ client }) =>
        client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"),
      ({ client }) => client.send("3\r\nabc\r\n0\r\nx: 1\r\n\r\n"),
    ],
    answer: (app, id) => {
      app.headers(id, [[":status", "200"]], false);
      app.data(id, "ok");
      app.headers(id, TRAILERS);
    },
  },
  "content longer than a window, and interim responses": {
    ends: `${LONG.slice(0, 15_000)}\\r\\n0\\r\\n`,
    says: [
      ({ client }) =>
        client.send(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 120000\r\n\r\n${LONG}${LONG}`),
    ],
    answer: (app, id) => {
      app.headers(id, [[":status", "103"]], false);
      app.headers(id, [[":status", "200"]], false);
      for (let at = 0; at < LONG.length; at += 15_000) app.data(id, LONG.slice(at, at + 15_000));
      app.frame(FRAME.data, FLAG.endStream, id);
    },
  },
  "a stream that is refused first": {
    ends: SERVED,
    says: [
      ({ client }) => client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"),
    ],
    answer: (app, id, nth) => {
      if (nth === 0) app.word(FRAME.rstStream, id, CODE.refusedStream);
      else served(app, id);
    },
  },
  "an app that goes away before it begins": {
    ends: SERVED,
    says: [({ client }) => client.send(GET)],
    answer: (app, id, nth) => {
      if (nth === 0) app.frame(FRAME.goaway, 0, 0, new Uint8Array(8));
      else served(app, id);
    },
  },
  "an app that goes away behind its answer": {
    ends: SERVED,
    says: [({ client }) => client.send(GET), ({ client }) => client.send(GET)],
    answer: (app, id) => {
      app.frame(FRAME.goaway, 0, 0, Uint8Array.of(0, 0, 0, id, 0, 0, 0, 0));
      served(app, id);
    },
  },
  "a stream that its app resets in the middle": {
    ends: "HTTP/1.1 200 ",
    says: [({ client }) => client.send(GET)],
    answer: (app, id) => {
      app.headers(id, [[":status", "200"]], false);
      app.word(FRAME.rstStream, id, CODE.internalError);
    },
    isCut: true,
  },
  "an answer that is malformed": {
    ends: "HTTP/1.1 502 ",
    says: [({ client }) => client.send(GET)],
    answer: (app, id) => app.headers(id, [[":status", "20"]]),
  },
  "an app that breaks the connection's rules": {
    ends: "HTTP/1.1 503 ",
    says: [({ client }) => client.send(GET)],
    answer: (app) => app.frame(FRAME.ping, 0, 1, new Uint8Array(8)),
  },
  "a client that hangs up": {
    ends: "HTTP/1.1 200 ",
    says: [({ client }) => client.send(GET), ({ client }) => client.stream?.reset()],
    answer: (app, id) => app.headers(id, [[":status", "200"]], false),
  },
  "a WebSocket, both of whose ends say that they end": {
    ends: "pong",
    says: [
      ({ client }) => client.send(UPGRADE),
      ({ apps }) => apps.at(-1)?.headers(1, [[":status", "200"]], false),
      ({ client }) => client.send("ping"),
      ({ apps }) => apps.at(-1)?.data(1, "pong"),
      ({ client }) => client.end(),
      ({ apps }) => apps.at(-1)?.frame(FRAME.data, FLAG.endStream, 1),
    ],
    offersTunnels: true,
  },
  "a WebSocket that its app resets": {
    ends: "HTTP/1.1 101 ",
    says: [
      ({ client }) => client.send(UPGRADE),
      ({ apps }) => apps.at(-1)?.headers(1, [[":status", "200"]], false),
      ({ apps }) => apps.at(-1)?.word(FRAME.rstStream, 1, CODE.cancel),
    ],
    offersTunnels: true,
    isCut: true,
  },
};
