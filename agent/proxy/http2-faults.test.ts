// Faults at the socket seam, at every step of exchanges that speak HTTP/2 on one side, as faults.test.ts has them of HTTP/1.1: each scenario
// is run once to count the steps that the agent's streams take, then once more for each step and each fault. Whatever happens, every
// stream comes to an end within the agent's deadlines, and nothing stays open, lent, borrowed or counted.
import { describe, expect, test } from "bun:test";
import { countLent } from "../../test/support/buffers-lent.ts";
import { type Fields, GET_FIELDS, Http2End, POST_FIELDS } from "../../test/support/http2-end.ts";
import { ClientHop, type HopOptions, ServerHop } from "../../test/support/http2-hop.ts";
import type { Fault, MemoryStream, Step } from "../../test/support/memory-network.ts";
import type { MeshFixture } from "../../test/support/mesh-fixture.ts";
import { CODE, FLAG, FRAME } from "../protocol/http2/frame.ts";
import type { ThreadContext } from "./thread-context.ts";

const FAULTS: readonly Fault[] = [
  { is: "takes", bytes: 1 },
  { is: "takes", bytes: 0 },
  { is: "peer_resets" },
  { is: "peer_ends" },
  { is: "peer_falls_silent" },
];
const QUICK = {
  headerTimeoutMs: 1_000,
  bodyTimeoutMs: 1_000,
  streamIdleTimeoutMs: 2_000,
  tcpIdleTimeoutMs: 2_000,
  idleTimeoutMs: 5_000,
};
/** Sooner than any deadline, later than a back-off. */
const AT_ONCE_MS = 600;
const LONG = "x".repeat(60_000);
const GET = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

const isFull = process.env["IRONMESH_TIER"] === "full";
const WAYS = isFull ? (["outbound", "inbound"] as const) : (["outbound"] as const);

type AnyHop = ServerHop | ClientHop;

interface Scenario<H extends AnyHop> {
  readonly says: readonly ((hop: H) => void)[];
  readonly options?: HopOptions;
  /** What an app of HTTP/2 says to the nth request that is whole. */
  readonly answer?: (app: Http2End, id: number, nth: number) => void;
  /** What the client has when nothing fails; default: the answer to stream 1 or 3. */
  readonly ends?: string;
  /** Its client is cut, and what had not left by then is lost with it. */
  readonly isCut?: true;
}

/** An app that answers as it is told. */
class App extends Http2End {
  readonly #answer: (app: Http2End, id: number) => void;
  #read = 0;

  constructor(answer: (app: Http2End, id: number) => void) {
    super("server");
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

const served = (app: Http2End, id: number): void => {
  app.headers(id, [[":status", "200"]], false);
  app.data(id, "ok", true);
};

interface Run<H extends AnyHop> {
  readonly steps: readonly Step[];
  readonly hop: H;
  /** Exchanges in use, once there was time for all but deadlines. */
  readonly underWay: number;
  readonly borrowed: () => number;
  readonly lent: () => number;
  readonly open: () => number;
}

/** Runs it with the fault at that step; -1: nowhere. */
function run<H extends AnyHop>(
  scenario: Scenario<H>,
  make: (options: HopOptions, app: () => Http2End) => H,
  at: number,
  fault: Fault | undefined,
): Run<H> {
  const steps: Step[] = [];
  const streams = new Set<MemoryStream>();
  const counts: (() => number)[] = [];
  const lent: (() => number)[] = [];
  const prepare = (mesh: MeshFixture): void => {
    for (const { plane } of [mesh.client, mesh.server]) {
      counts.push(countBorrowed(plane.context));
      lent.push(countLent(plane.context.buffers));
    }
    mesh.fabric.faultAt = (stream, step) => {
      streams.add(stream);
      return steps.push(step) - 1 === at ? fault : undefined;
    };
  };
  const sum = (all: readonly (() => number)[]): number => all.reduce((n, one) => n + one(), 0);
  let asked = 0;
  const answer = scenario.answer ?? served;
  const app = (): Http2End => new App((end, id) => answer(end, id, asked++));
  const hop = make({ config: QUICK, ...scenario.options, prepare }, app);
  for (const say of scenario.says) {
    say(hop);
    hop.pass(50);
  }
  hop.pass(AT_ONCE_MS);
  const underWay = sum(counts);
  hop.pass(14_000); // past all deadlines
  return {
    steps,
    hop,
    underWay,
    borrowed: () => sum(counts),
    lent: () => sum(lent),
    open: () => [...streams].filter((stream) => stream.isOpen).length,
  };
}

/** Exchanges that were borrowed and not given back. */
function countBorrowed(context: ThreadContext): () => number {
  let borrowed = 0;
  const borrow = context.borrowExchange.bind(context);
  const giveBack = context.giveBack.bind(context);
  context.borrowExchange = (connection) => {
    borrowed++;
    return borrow(connection);
  };
  context.giveBack = (exchange) => {
    borrowed--;
    giveBack(exchange);
  };
  return () => borrowed;
}

/** What the client got, however it was cut. */
function outcome(hop: AnyHop): unknown {
  if (hop instanceof ClientHop) return hop.client.text;
  const streams = new Map<string, string>();
  for (const line of hop.client.seen) {
    const [, kind = "", id = "", rest = ""] = /^(\S+) ?(\d*) ?(.*)$/s.exec(line) ?? [];
    if (kind === "SETTINGS" || kind === "PONG") continue;
    const text = kind === "DATA" ? rest : `${kind} ${rest}`;
    streams.set(id, (streams.get(id) ?? "") + text);
  }
  return [...streams];
}

function checkAll<H extends AnyHop>(
  scenario: Scenario<H>,
  make: (options: HopOptions, app: () => Http2End) => H,
): void {
  const well = run(scenario, make, -1, undefined);
  expect(well.steps.length).toBeGreaterThan(5);
  const wanted = outcome(well.hop);
  expect(JSON.stringify(wanted)).toContain(scenario.ends ?? "2ok END");
  well.steps.forEach((step, at) => {
    for (const fault of FAULTS) {
      if (fault.is === "takes" && step !== "write") continue;
      const failed = run(scenario, make, at, fault);
      const { hop } = failed;
      const where = { at, step, fault };
      expect({ ...where, borrowed: failed.borrowed(), lent: failed.lent() }).toEqual({
        ...where,
        borrowed: 0,
        lent: 0,
      });
      // What the kernel tells of is not left to a deadline.
      const isTold = fault.is === "peer_resets" || fault.is === "peer_ends";
      const underWay = isTold ? 0 : failed.underWay;
      expect({ ...where, underWay: failed.underWay }).toEqual({ ...where, underWay });
      // A short write or a full socket is no failure.
      const got = outcome(hop);
      expect({ ...where, got }).toEqual({
        ...where,
        got: fault.is === "takes" && scenario.isCut !== true ? wanted : got,
      });
      hop.expectNothingLeft();
      expect({ ...where, open: failed.open() }).toEqual({ ...where, open: 0 });
    }
  });
}

const CHUNKED = `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${"ea60\r\n"}${LONG}\r\n`;
const TRAILERS: Fields = [["x-end", "1"]];

const OF_CLIENTS: Readonly<Record<string, Scenario<ServerHop>>> = {
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
  "a request that is malformed, beside one that is not": {
    ends: `RST ${CODE.protocolError}"],["3","HEADERS :status=200`,
    says: [
      ({ client }) => {
        client.headers(1, [...GET_FIELDS, ["X", "1"]]);
        client.headers(3, GET_FIELDS);
      },
    ],
  },
};

/** As it stands in JSON. */
const SERVED = "ok\\r\\n0\\r\\n";

const OF_APPS: Readonly<Record<string, Scenario<ClientHop>>> = {
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
};

describe("whatever fails at whichever step: it ends within its deadlines and leaves nothing", () => {
  test.each(Object.keys(OF_CLIENTS))("a client of HTTP/2: %s", (name) => {
    const scenario = OF_CLIENTS[name];
    if (scenario === undefined) throw new Error(name);
    for (const way of WAYS) checkAll(scenario, (options) => new ServerHop({ ...options, way }));
  });

  test.each(Object.keys(OF_APPS))("an app of HTTP/2: %s", (name) => {
    const scenario = OF_APPS[name];
    if (scenario === undefined) throw new Error(name);
    checkAll(scenario, (options, app) => new ClientHop(options, app));
  });
});
