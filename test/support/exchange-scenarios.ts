// Every kind of exchange that a client, the agent and an app may have, small enough that each of its steps can be made to fail.
import { endpoint, forwardRoute, service } from "./mesh-fixture.ts";
import { type Answer, answerEach, type Hop, OK } from "./one-hop.ts";

const GET = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const CHUNKS = "3\r\nabc\r\n0\r\nx: 1\r\n\r\n";
const LARGE = "x".repeat(150_000);
const head = (fields: string, method = "POST"): string =>
  `${method} / HTTP/1.1\r\nhost: a\r\n${fields}\r\n`;

export interface Scenario {
  /** What the client says or does, with time to be carried after each. */
  readonly says: readonly (string | ((hop: Hop) => void))[];
  readonly answer: () => Answer;
  /** What the client has when nothing goes wrong. */
  readonly ends: string;
  readonly prepare?: (hop: Hop) => void;
  readonly isTunnel?: true;
}

/** Answers once the request ends so. */
const after =
  (end: string, text: string): Answer =>
  (app) =>
    app.text.endsWith(end) ? app.take() && text : undefined;
const retry = {
  attempts: 2,
  perTryTimeoutMs: 500,
  on: ["5xx", "connect-failure"] as const,
  statusCodes: [],
  backoffBaseMs: 25,
};
const withRoute = (changes: Parameters<typeof forwardRoute>[0]) => (hop: Hop) =>
  hop.mesh.swapClient({
    endpoints: [endpoint(0, { mesh: undefined })],
    services: [service({}, [forwardRoute(changes)])],
  });

export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  "one request after another": { says: [GET, GET], answer: () => answerEach(OK), ends: OK },
  "pipelined requests": {
    says: [GET + GET + GET],
    answer: () => answerEach(OK),
    ends: OK + OK + OK,
  },
  "a head in pieces, both ways": {
    says: ["GET / HTTP/1.1\r\nho", "st: a\r\n\r", "\n"],
    answer: () => (app) => {
      if (!app.text.endsWith("\r\n\r\n")) return undefined;
      app.send("HTTP/1.1 200 OK\r\ncontent-le");
      return "ngth: 2\r\n\r\nok";
    },
    ends: OK,
  },
  "bodies of a given length": {
    says: [head("content-length: 6\r\n"), "abc", "def"],
    answer: () => after("abcdef", OK),
    ends: OK,
  },
  "chunks and trailers": {
    says: [head("transfer-encoding: chunked\r\n"), "3\r\na", "bc\r\n0\r\nx: 1\r\n\r\n"],
    answer: () => after(CHUNKS, `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${CHUNKS}`),
    ends: CHUNKS,
  },
  "bodies larger than every buffer": {
    says: [head(`content-length: ${LARGE.length}\r\n`) + LARGE],
    answer: () => (app) =>
      app.bytesReceived > LARGE.length
        ? `HTTP/1.1 200 OK\r\ncontent-length: ${LARGE.length}\r\n\r\n${LARGE}`
        : undefined,
    ends: LARGE,
  },
  "100 (Continue)": {
    says: [head("expect: 100-continue\r\ncontent-length: 3\r\n", "PUT"), "abc"],
    answer: () => (app) =>
      app.text.endsWith("abc")
        ? OK
        : app.text.endsWith("\r\n\r\n")
          ? "HTTP/1.1 100 Continue\r\n\r\n"
          : undefined,
    ends: OK,
  },
  "an answer before the request is whole": {
    says: [head("content-length: 1000\r\n"), "abc"],
    answer: () => (app) =>
      app.text.endsWith("\r\n\r\n")
        ? "HTTP/1.1 413 Large\r\ncontent-length: 3\r\n\r\nbig"
        : undefined,
    ends: "big",
  },
  "an answer until the app ends": {
    says: [GET],
    answer: () => (app) => {
      app.send("HTTP/1.1 200 OK\r\n\r\nall there is");
      app.end();
      return undefined;
    },
    ends: "all there is",
  },
  "chunks for a client of HTTP/1.0": {
    says: ["GET / HTTP/1.0\r\nhost: a\r\n\r\n"],
    answer: () => answerEach(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${CHUNKS}`),
    ends: "\r\n\r\nabc",
  },
  "a tunnel": {
    says: [head("connection: upgrade\r\nupgrade: x\r\n", "GET"), "ping"],
    answer: () => (app) =>
      app.text.endsWith("ping")
        ? "pong"
        : "HTTP/1.1 101 Up\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    ends: "pong",
    isTunnel: true,
  },
  "a second try": {
    says: [head("content-length: 3\r\n"), "abc"],
    answer: () => {
      let asked = 0;
      return (app) =>
        app.text.endsWith("abc") && app.take()
          ? asked++ === 0
            ? "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"
            : OK
          : undefined;
    },
    ends: OK,
    prepare: withRoute({ retry }),
  },
  "a request that is held back first": {
    says: [head("content-length: 3\r\n"), "abc"],
    answer: () => after("abc", OK),
    ends: OK,
    prepare: withRoute({ fault: { delay: { percent: 100, ms: 300 }, abort: undefined } }),
  },
  "a whole request that is held back first": {
    says: [GET, (hop) => hop.pass()],
    answer: () => answerEach(OK),
    ends: OK,
    prepare: withRoute({ fault: { delay: { percent: 100, ms: 300 }, abort: undefined } }),
  },
  "a conversation in both directions": {
    says: [head("transfer-encoding: chunked\r\n"), "3\r\nabc\r\n", "0\r\n\r\n"],
    answer: () => (app) => {
      const text = app.take();
      if (text.startsWith("POST")) return "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
      return text.endsWith("abc\r\n") ? "2\r\nok\r\n" : "0\r\n\r\n";
    },
    ends: "\r\n\r\n2\r\nok\r\n0\r\n\r\n",
  },
  "an answer that its client is slow to take": {
    says: [
      (hop) => {
        hop.client.stream?.pause();
        hop.say(GET);
      },
      (hop) => {
        hop.client.stream?.resume();
        hop.pass();
      },
    ],
    answer: () =>
      answerEach(`HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n${LARGE.slice(0, 70_000)}`),
    ends: "xxx",
  },
  "an answer that turns bad": {
    says: [GET],
    answer: () => answerEach("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nx"),
    ends: "",
  },
  "a request that turns bad": {
    says: [head("transfer-encoding: chunked\r\n"), "x\r\n"],
    answer: () => () => undefined,
    ends: "chunk_size_invalid\n",
  },
};
