import { describe, expect, test } from "bun:test";
import { type DecodedPacket, decode, encode, type Packet, RECURSION_DESIRED } from "dns-packet";
import fc from "fast-check";
import {
  type DnsAnswer,
  type DnsQuery,
  frameForTcp,
  parseQuery,
  readTcpFrame,
  writeAnswer,
} from "./dns.ts";

function ask(packet: Packet): DnsQuery {
  const bytes = encode({ type: "query", id: 7, flags: RECURSION_DESIRED, ...packet });
  const parsed = parseQuery(bytes, 0, bytes.length);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}
const answerTo = (query: DnsQuery, answer: DnsAnswer): DecodedPacket =>
  decode(Buffer.from(writeAnswer(query, answer, "udp")));
const addresses = (...list: string[]): DnsAnswer => ({
  is: "addresses",
  addresses: list,
  ttlSeconds: 5,
});

const A = ask({ questions: [{ type: "A", name: "ReViews.Default.mesh" }] });

describe("a question", () => {
  test("is read in lower case, and remembered as asked", () => {
    expect(A).toMatchObject({
      id: 7,
      name: "reviews.default.mesh",
      nameAsAsked: "ReViews.Default.mesh",
      type: "A",
      isPlain: true,
      isRecursionDesired: true,
      hasEdns: false,
      udpBytesMax: 512,
    });
  });

  test("may carry EDNS, whose size is kept below a path's MTU", () => {
    const query = ask({
      questions: [{ type: "AAAA", name: "a" }],
      additionals: [
        {
          type: "OPT",
          name: ".",
          udpPayloadSize: 4096,
          extendedRcode: 0,
          ednsVersion: 0,
          flags: 0,
          flag_do: false,
          options: [],
        },
      ],
    });
    expect([query.type, query.hasEdns, query.udpBytesMax]).toEqual(["AAAA", true, 1232]);
    expect(answerTo(query, addresses("fd00::1")).additionals?.[0]?.type).toBe("OPT");
  });

  test("with a dot inside a label is no plain name", () => {
    const bytes = encode({
      type: "query",
      id: 1,
      questions: [{ type: "A", name: "reviewsXdefault.mesh" }],
    });
    bytes[12 + 1 + 7] = 46;
    const parsed = parseQuery(bytes, 0, bytes.length);
    expect(parsed).toMatchObject({
      ok: true,
      value: { name: "reviews.default.mesh", isPlain: false },
    });
    if (!parsed.ok) return;
    const failure = Buffer.from(writeAnswer(parsed.value, { is: "server_failure" }, "udp"));
    expect(failure.subarray(12).equals(bytes.subarray(12))).toBe(true);
    expect(decode(failure)).toMatchObject({ id: 1, type: "response", rcode: "SERVFAIL" });
  });

  test("is refused when it is a response, more than one, or cut short", () => {
    const reason = (packet: Packet): unknown => {
      const bytes = encode(packet);
      const parsed = parseQuery(bytes, 0, bytes.length);
      return parsed.ok ? "read" : parsed.error;
    };
    const question = { type: "A", name: "a.b" } as const;
    expect(reason({ type: "response", questions: [question] })).toBe("not_a_query");
    expect(reason({ type: "query", flags: 2 << 11, questions: [question] })).toBe("not_a_query");
    expect(reason({ type: "query", questions: [question, question] })).toBe("not_one_question");
    const bytes = encode({ type: "query", questions: [question] });
    for (let end = 0; end < bytes.length; end++) expect(parseQuery(bytes, 0, end).ok).toBe(false);
    expect(parseQuery(new Uint8Array(5000), 0, 5000)).toEqual({ ok: false, error: "too_long" });
  });
});

describe("an answer", () => {
  test("repeats the question letter for letter and gives the addresses", () => {
    const answer = answerTo(A, addresses("240.0.0.1"));
    expect(answer).toMatchObject({
      id: 7,
      rcode: "NOERROR",
      flag_aa: true,
      flag_ra: true,
      flag_rd: true,
    });
    expect(answer.questions?.[0]?.name).toBe("ReViews.Default.mesh");
    expect(answer.answers).toMatchObject([{ type: "A", ttl: 5, data: "240.0.0.1" }]);
  });

  test("can say that there is no such record, no such name, or that we failed", () => {
    expect(answerTo(A, addresses())).toMatchObject({ rcode: "NOERROR", answers: [] });
    expect(answerTo(A, { is: "no_such_name" })).toMatchObject({ rcode: "NXDOMAIN" });
    expect(answerTo(A, { is: "server_failure" })).toMatchObject({ rcode: "SERVFAIL" });
    const https = ask({ questions: [{ type: "UNKNOWN_65" as "A", name: "a.b" }] });
    expect(https.type).toBe("other");
    const none = Buffer.from(writeAnswer(https, addresses("1.2.3.4"), "udp"));
    expect(decode(none)).toMatchObject({ rcode: "NOERROR", answers: [] });
    expect(none.readUInt16BE(none.length - 4)).toBe(65);
  });

  test("too long for UDP is truncated, and whole over TCP", () => {
    const many = addresses(...Array.from({ length: 60 }, (_, i) => `10.0.0.${i}`));
    expect(answerTo(A, many)).toMatchObject({ flag_tc: true, answers: [] });
    expect(decode(Buffer.from(writeAnswer(A, many, "tcp"))).answers).toHaveLength(60);
  });
});

test("TCP frames are read at any split and bounded", () => {
  const framed = frameForTcp(A.message);
  for (let end = 0; end < framed.length; end++) {
    expect(readTcpFrame(framed, 0, end)).toEqual({ ok: true, value: "need_more" });
  }
  expect(readTcpFrame(framed, 0, framed.length)).toEqual({ ok: true, value: A.message.length });
  expect(readTcpFrame(Uint8Array.of(0xff, 0xff), 0, 2)).toEqual({ ok: false, error: "too_long" });
  expect(readTcpFrame(Uint8Array.of(0, 5), 0, 2)).toEqual({ ok: false, error: "malformed" });
});

test("garbage never throws, and what is read can be answered", () => {
  const header = fc.constantFrom(
    [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
    [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1],
  );
  fc.assert(
    fc.property(header, fc.uint8Array({ maxLength: 60 }), (first, rest) => {
      const bytes = Uint8Array.from([...first, ...rest]);
      const parsed = parseQuery(bytes, 0, bytes.length);
      if (!parsed.ok) return;
      const answer = writeAnswer(parsed.value, { is: "no_such_name" }, "udp");
      expect(answer.slice(0, 2)).toEqual(bytes.slice(0, 2));
      expect(answer.length).toBeLessThanOrEqual(parsed.value.udpBytesMax);
    }),
    { numRuns: 2000 },
  );
});
