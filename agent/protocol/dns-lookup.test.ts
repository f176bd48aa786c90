import { describe, expect, test } from "bun:test";
import { type Answer, decode, encode, type Packet } from "dns-packet";
import fc from "fast-check";
import { questionEndOf, readLookup, writeLookup } from "./dns-lookup.ts";

const NAME = "db.example.com";
const answer = (answers: Answer[], more: Partial<Packet> = {}): Buffer =>
  encode({
    type: "response",
    id: 7,
    flags: 0x180,
    questions: [{ name: NAME, type: "A" }],
    answers,
    ...more,
  });
const a = (data: string, ttl = 60, name = NAME): Answer => ({ type: "A", name, ttl, data });
const alias = (name: string, data: string, ttl = 60): Answer => ({
  type: "CNAME",
  name,
  ttl,
  data,
});

test("a question is one, recursive, with room for a long answer, and its end is where the answer's must be", () => {
  for (const type of ["A", "AAAA"] as const) {
    const bytes = writeLookup(NAME, type);
    const packet = decode(Buffer.from(bytes));
    expect(packet.questions).toMatchObject([{ name: NAME, type, class: "IN" }]);
    expect([packet.flag_rd, packet.additionals?.[0]]).toMatchObject([
      true,
      { type: "OPT", udpPayloadSize: 1232 },
    ]);
    expect(questionEndOf(NAME)).toBe(12 + 1 + NAME.length + 1 + 4);
    expect([...bytes.subarray(questionEndOf(NAME) - 2, questionEndOf(NAME))]).toEqual([0, 1]);
  }
});

describe("an answer", () => {
  const read = (message: Buffer, type: "A" | "AAAA" = "A") => readLookup(message, NAME, type);

  test("has the addresses of the name, in their order, each once, for the shortest time that one has", () => {
    const both = [a("192.0.2.2", 90), a("192.0.2.1", 30, "DB.Example.com"), a("192.0.2.2", 60)];
    expect(read(answer([...both, a("192.0.2.9", 5, "other.example")]))).toEqual({
      ok: true,
      value: { addresses: ["192.0.2.2", "192.0.2.1"], ttlSeconds: 30 },
    });
    const six: Answer = { type: "AAAA", name: NAME, ttl: 8, data: "2001:db8::1" };
    expect(read(answer([a("192.0.2.1"), six]), "AAAA")).toEqual({
      ok: true,
      value: { addresses: ["2001:db8::1"], ttlSeconds: 8 },
    });
  });

  test("leads over aliases, whose times count too; aliases in a circle are no answer", () => {
    const chain = [a("192.0.2.1", 50, "c.example"), alias(NAME, "B.example", 90)];
    expect(read(answer([...chain, alias("b.example", "c.example", 20)]))).toEqual({
      ok: true,
      value: { addresses: ["192.0.2.1"], ttlSeconds: 20 },
    });
    const circle = [alias(NAME, "b.example"), alias("b.example", NAME)];
    expect(read(answer(circle))).toEqual({ ok: false, error: "aliases that lead nowhere" });
  });

  test("that there is none holds for as long as the zone says (RFC 2308 5)", () => {
    const soa = { mname: "ns.example.com", rname: "x.example.com", minimum: 40 };
    const authorities: Answer[] = [{ type: "SOA", name: "example.com", ttl: 900, data: soa }];
    for (const flags of [0x180, 0x183])
      expect(read(answer([], { flags, authorities }))).toEqual({
        ok: true,
        value: { addresses: [], ttlSeconds: 40 },
      });
    expect(read(answer([alias(NAME, "b.example")]))).toEqual({
      ok: true,
      value: { addresses: [], ttlSeconds: 0 },
    });
  });

  test("of a resolver that cannot answer, one that was cut, and nonsense are told apart", () => {
    const errors = [0x182, 0x185, 0x189].map((flags) => read(answer([], { flags })));
    expect(errors).toEqual([
      { ok: false, error: "SERVFAIL" },
      { ok: false, error: "REFUSED" },
      { ok: false, error: "response code 9" },
    ]);
    expect(read(answer([a("192.0.2.1")], { flags: 0x380 }))).toEqual({
      ok: false,
      error: "truncated",
    });
    expect(read(answer([a("192.0.2.1")]).subarray(0, 40)).ok).toBe(false);
  });

  test("of any bytes never throws", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        readLookup(bytes, NAME, "A");
      }),
      { seed: 3 },
    );
    const whole = answer([alias(NAME, "b.example"), a("192.0.2.1", 60, "b.example")]);
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), (at, byte) => {
        const bent = Buffer.from(whole);
        bent[at] = byte;
        readLookup(bent, NAME, "A");
      }),
      { seed: 4, numRuns: 500 },
    );
  });
});
