import { describe, expect, test } from "bun:test";
import { decode, encode, type Packet, streamDecode, streamEncode } from "dns-packet";
import fc from "fast-check";
import { SeededRandom } from "../../agent/base/clock.ts";
import { MemoryFabric } from "../../test/support/memory-network.ts";
import { VirtualClock } from "../../test/support/virtual-clock.ts";
import { FORWARDS_MAX, MESH_NAME_TTL_SECONDS, NameServer, namesOf } from "./names.ts";
import { DNS_IDLE_MS, forwardOverTcp, NameStreams } from "./names-stream.ts";
import { type ForwardEvents, RESOLVER_TIMEOUT_MS } from "./resolver-exchange.ts";

const RESOLVERS = ["10.0.0.1", "10.0.0.2"];
const REVIEWS = { vip4: "240.240.0.7", vip6: "2001:2::7" };

interface Sent {
  readonly resolver: string;
  readonly transport: string;
  readonly events: ForwardEvents;
  readonly message: Buffer;
  isClosed: boolean;
}

function setUp(hasIpv6 = true) {
  const clock = new VirtualClock();
  const sent: Sent[] = [];
  let id = 100;
  const names = new NameServer(
    { resolvers: RESOLVERS, hasIpv6 },
    {
      resolveName: (name) => (name === "reviews" ? REVIEWS : "not_ours"),
      timers: clock,
      randomId: () => id++,
      forwarders: {
        open(resolver, transport, events) {
          let entry: Sent | undefined;
          return {
            send: (message) => {
              entry = {
                resolver,
                transport,
                events,
                message: Buffer.from(message),
                isClosed: false,
              };
              sent.push(entry);
            },
            close: () => {
              if (entry !== undefined) entry.isClosed = true;
            },
          };
        },
      },
    },
  );
  const replies: Buffer[] = [];
  const ask = (bytes: Uint8Array, asked = "10.0.0.1"): void =>
    names.answer(bytes, "udp", asked, (message) => replies.push(Buffer.from(message)));
  return { clock, sent, names, replies, ask };
}

const question = (
  name: string,
  type: "A" | "AAAA" | "TXT" = "A",
  more: Partial<Packet> = {},
): Buffer => encode({ type: "query", id: 7, flags: 256, questions: [{ name, type }], ...more });
const answering = (query: Buffer, data = "192.0.2.1"): Buffer => {
  const { id, questions } = decode(query);
  return encode({
    type: "response",
    id: id ?? 0,
    flags: 0x180,
    questions: questions ?? [],
    answers: [{ type: "A", name: questions?.[0]?.name ?? "", ttl: 9, data }],
  });
};
const only = <T>(list: readonly T[]): T => {
  expect(list).toHaveLength(1);
  return list[0] as T;
};

describe("names of the mesh", () => {
  test("are answered at once, by type, with the short TTL and the letters as asked", () => {
    const { ask, replies, sent } = setUp();
    ask(question("rEvIeWs"));
    ask(question("reviews", "AAAA"));
    const [a, aaaa] = replies.map((reply) => decode(reply));
    expect(a?.answers).toMatchObject([
      { name: "rEvIeWs", type: "A", data: "240.240.0.7", ttl: MESH_NAME_TTL_SECONDS },
    ]);
    expect(aaaa?.answers).toMatchObject([{ type: "AAAA", data: "2001:2::7" }]);
    expect(sent).toHaveLength(0);
  });

  test("exist without records of other types, and without AAAA on a host that has no IPv6", () => {
    const { ask, replies } = setUp(false);
    ask(question("reviews", "TXT"));
    ask(question("reviews", "AAAA"));
    for (const reply of replies)
      expect(decode(reply)).toMatchObject({ rcode: "NOERROR", answers: [] });
    expect(replies).toHaveLength(2);
  });

  test("come from the snapshot alone, by every name of a service", () => {
    const service = {
      host: "reviews.default.mesh",
      name: "reviews",
      namespace: "default",
      names: ["reviews.default.mesh", "reviews"],
      ...REVIEWS,
      isExternal: false,
      ports: [],
    };
    const external = { ...service, names: ["api.example.org"], vip4: undefined, vip6: undefined };
    const resolve = namesOf({ services: [service, external] });
    expect(resolve("reviews")).toEqual(REVIEWS);
    expect(resolve("api.example.org")).toBe("not_ours");
  });
});

describe("other names", () => {
  test("go to the resolver that was asked, byte for byte but the id, and the answer comes back the same way", () => {
    const { ask, sent, replies } = setUp();
    const query = question("example.org", "A", {
      additionals: [
        {
          type: "OPT",
          name: ".",
          udpPayloadSize: 1400,
          extendedRcode: 0,
          ednsVersion: 0,
          flags: 0,
          flag_do: true,
          options: [],
        },
      ],
    });
    ask(query, "10.0.0.2");
    const out = only(sent);
    expect(out.resolver).toBe("10.0.0.2");
    expect(out.message.readUInt16BE(0)).toBe(100);
    expect(out.message.subarray(2)).toEqual(query.subarray(2));
    const answer = answering(out.message);
    out.events.onMessage(answer);
    expect(only(replies).readUInt16BE(0)).toBe(7);
    expect(only(replies).subarray(2)).toEqual(answer.subarray(2));
    expect(out.isClosed).toBe(true);
  });

  test("a forged answer is not believed: wrong id, other question, other letters, or a query", () => {
    const { ask, sent, replies, clock } = setUp();
    ask(question("eXample.org"));
    const out = only(sent);
    const good = answering(out.message);
    const wrongId = Buffer.from(good);
    wrongId.writeUInt16BE(101, 0);
    const noResponse = Buffer.from(good);
    noResponse.writeUInt16BE(0x0100, 2);
    const otherLetters = Buffer.from(good);
    otherLetters.write("Example", 13, "latin1");
    for (const forged of [wrongId, noResponse, otherLetters, Buffer.alloc(0), good.subarray(0, 14)])
      out.events.onMessage(forged);
    expect(replies).toHaveLength(0);
    clock.pass(10);
    out.events.onMessage(good);
    expect(replies).toHaveLength(1);
  });

  test("a silent resolver is passed over after its time, and with none left the answer is SERVFAIL", () => {
    const { ask, sent, replies, clock, names } = setUp();
    ask(question("example.org"));
    clock.pass(RESOLVER_TIMEOUT_MS);
    expect(sent.map(({ resolver, isClosed }) => [resolver, isClosed])).toEqual([
      ["10.0.0.1", true],
      ["10.0.0.2", false],
    ]);
    expect(sent[0]?.message.readUInt16BE(0)).not.toBe(sent[1]?.message.readUInt16BE(0));
    clock.pass(RESOLVER_TIMEOUT_MS);
    expect(decode(only(replies))).toMatchObject({ rcode: "SERVFAIL", id: 7 });
    expect(names.pending).toBe(0);
    sent[1]?.events.onMessage(answering(sent[1].message));
    expect(replies).toHaveLength(1);
  });

  test("a resolver that refuses is passed over at once", () => {
    const { ask, sent } = setUp();
    ask(question("example.org"));
    sent[0]?.events.onFailed();
    expect(sent[1]?.resolver).toBe("10.0.0.2");
  });

  test("questions under way are bounded", () => {
    const { ask, sent, replies, names } = setUp();
    for (let i = 0; i <= FORWARDS_MAX; i++) ask(question(`n${i}.example.org`));
    expect(sent).toHaveLength(FORWARDS_MAX);
    expect(decode(only(replies)).id).toBe(7);
    expect(names.counts.failed).toBe(1);
  });

  test("nonsense gets no answer, and never throws", () => {
    const { names } = setUp();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        names.answer(bytes, "udp", undefined, () => {});
      }),
    );
    const { ask, sent, replies } = setUp();
    ask(answering(question("reviews")));
    ask(Buffer.from("hello"));
    expect([sent.length, replies.length]).toEqual([0, 0]);
  });
});

describe("over TCP", () => {
  function setUpTcp() {
    const clock = new VirtualClock();
    const fabric = new MemoryFabric({ splits: true }, { clock, random: new SeededRandom(5) });
    const agent = fabric.host("10.0.0.9");
    let id = 1;
    const names = new NameServer(
      { resolvers: RESOLVERS, hasIpv6: true },
      {
        resolveName: (name) => (name === "reviews" ? REVIEWS : "not_ours"),
        timers: clock,
        randomId: () => id++,
        forwarders: {
          open: (resolver, _transport, events) => forwardOverTcp(agent, resolver, events),
        },
      },
    );
    const streams = new NameStreams(names, clock);
    fabric.plain.set("10.0.0.9:15053", (stream) => streams.accept(stream, "10.0.0.1"));
    fabric.plain.set("10.0.0.1:53", (stream) => {
      let got = Buffer.alloc(0);
      stream.handler = {
        onOpen() {},
        onData(_s, bytes, start, end) {
          got = Buffer.concat([got, bytes.subarray(start, end)]);
          if (got.length < 2 || got.length < 2 + got.readUInt16BE(0)) return;
          const answer = answering(got.subarray(2));
          const framed = Buffer.concat([
            Buffer.from([answer.length >> 8, answer.length & 255]),
            answer,
          ]);
          let at = 0;
          while (at < framed.length) at += stream.write(framed, at, framed.length);
        },
        onWritable() {},
        onEnd: () => stream.close(),
        onClose() {},
      };
    });
    const received: Buffer[] = [];
    let isClosed = false;
    const app = fabric.host("10.0.0.8").dial(
      { is: "plain", address: "10.0.0.9", port: 15_053 },
      {
        onOpen() {},
        onData: (_s, bytes, start, end) => received.push(Buffer.from(bytes.subarray(start, end))),
        onWritable() {},
        onEnd() {},
        onClose: () => {
          isClosed = true;
        },
      },
    );
    clock.until(() => app.isOpen);
    return {
      clock,
      app,
      streams,
      received: () => Buffer.concat(received),
      isClosed: () => isClosed,
    };
  }

  test("questions that come in pieces and together are each answered in a frame of its own", () => {
    const { clock, app, received } = setUpTcp();
    const both = Buffer.concat([
      streamEncode({
        type: "query",
        id: 1,
        flags: 256,
        questions: [{ type: "A", name: "example.org" }],
      }),
      streamEncode({
        type: "query",
        id: 2,
        flags: 256,
        questions: [{ type: "A", name: "reviews" }],
      }),
    ]);
    for (let at = 0; at < both.length; ) {
      at += app.write(both, at, both.length);
      clock.pass(5);
    }
    clock.pass(1_000);
    const first = received();
    const second = first.subarray(2 + first.readUInt16BE(0));
    const answers = [first, second].map((bytes) => streamDecode(bytes));
    expect(new Map(answers.map((packet) => [packet.id, packet.answers?.[0]]))).toMatchObject(
      new Map([
        [1, { name: "example.org", data: "192.0.2.1" }],
        [2, { name: "reviews", data: "240.240.0.7" }],
      ]),
    );
  });

  test("a connection that asks nothing is cut", () => {
    const { clock, isClosed, streams } = setUpTcp();
    clock.pass(DNS_IDLE_MS + 100);
    expect([isClosed(), streams.open]).toEqual([true, 0]);
  });
});
