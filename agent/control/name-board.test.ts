import { expect, test } from "bun:test";
import { endpoint } from "../../test/support/mesh-fixture.ts";
import { SILENT_LOG } from "../base/log.ts";
import { SharedSlots } from "../base/slots.ts";
import { ADDRESSES_PER_NAME_MAX, type NameLookup } from "../policy/snapshot.ts";
import type { ToldName } from "../policy/told-names.ts";
import { NameBoard, STALE_MS_MAX } from "./name-board.ts";

const NAME = "db.example";
const LOOKUP: NameLookup = {
  takes: "all",
  slots: Array.from({ length: ADDRESSES_PER_NAME_MAX }, (_, i) => 200 + i * 5),
};

function board(lookup: NameLookup = LOOKUP) {
  const slots = new SharedSlots(new ArrayBuffer(4096));
  const told: ToldName[] = [];
  const asked: string[] = [];
  const logged: string[] = [];
  const time = { ms: 1_000 };
  const made = new NameBoard({
    slots,
    log: {
      ...SILENT_LOG,
      warn: (message) => void logged.push(message),
      info: (message) => void logged.push(message),
    },
    nowMs: () => time.ms,
    want: (name) => asked.push(`want ${name}`),
    drop: (name) => asked.push(`drop ${name}`),
    tell: (names) => told.push(...names),
  });
  made.follow({ endpoints: [endpoint(0, { id: `${NAME}:8080`, address: NAME, lookup })] });
  const hear = (addresses: readonly string[], refused: readonly string[] = []): void =>
    made.hear({ is: "answered", name: NAME, addresses, refused, ttlSeconds: 30, resolver: "r" });
  const fail = (): void => made.hear({ is: "failed", name: NAME, reason: "r answers SERVFAIL" });
  const last = (): readonly (string | undefined)[] | undefined =>
    told.at(-1)?.places?.filter((one) => one !== undefined);
  return { made, slots, told, asked, logged, time, hear, fail, last };
}

test("a name is looked up when it is used, and none that no endpoint has", () => {
  const { made, asked } = board();
  expect(made.names).toMatchObject([{ name: NAME, isUsed: false, addresses: [] }]);
  made.used(NAME);
  made.used("other.example");
  expect([asked, made.wanted]).toEqual([["want db.example"], [NAME]]);
});

test("an address keeps its place, and its counters; one that comes in another's place begins with counters of its own", () => {
  const { made, slots, told, hear } = board();
  made.used(NAME);
  hear(["192.0.2.1", "192.0.2.2"]);
  for (const slot of [201, 203, 205, 206, 208]) slots.write(slot, 9);
  hear(["192.0.2.3", "192.0.2.2"]);
  expect(told.at(-1)?.places?.slice(0, 3)).toEqual(["192.0.2.3", "192.0.2.2", undefined]);
  expect([201, 203, 206, 208].map((slot) => slots.read(slot))).toEqual([0, 0, 9, 9]);
  expect(slots.read(205)).toBe(9); // requests under way are counted off by whoever made them
});

test("more addresses than there are places for are left out", () => {
  const { made, hear, last } = board();
  made.used(NAME);
  hear(Array.from({ length: 40 }, (_, i) => `192.0.2.${i + 1}`));
  expect(last()).toHaveLength(ADDRESSES_PER_NAME_MAX);
});

test("the last good answer is kept while resolvers fail, is shown as stale, and not for longer than a day", () => {
  const { made, time, hear, fail, last, logged } = board();
  made.used(NAME);
  hear(["192.0.2.1"]);
  time.ms += 60_000;
  fail();
  fail();
  expect(last()).toEqual(["192.0.2.1"]);
  expect(logged).toEqual(["a host name cannot be looked up"]);
  expect(made.names).toMatchObject([
    { addresses: ["192.0.2.1"], ageSeconds: 60, resolver: "r", failure: "r answers SERVFAIL" },
  ]);
  time.ms += STALE_MS_MAX;
  fail();
  expect(last()).toEqual([]);
  hear(["192.0.2.2"]);
  expect(last()).toEqual(["192.0.2.2"]);
  expect(logged.at(-1)).toBe("a host name is looked up again");
});

test("that there is no address empties a name, but one that is logical stays where it was (Envoy's two kinds of DNS)", () => {
  const { made, told, hear, last } = board();
  made.used(NAME);
  hear(["192.0.2.2", "192.0.2.1"]);
  hear([]);
  expect([last(), told.at(-1)?.first]).toEqual([[], "192.0.2.2"]);
});

test("a first failure is told too: who waits for the name need not wait longer", () => {
  const { made, fail, last } = board();
  made.used(NAME);
  fail();
  expect(last()).toEqual([]);
  expect(made.told).toHaveLength(1);
});

test("a name that nobody uses, or that no endpoint has any more, is forgotten everywhere", () => {
  for (const forget of [
    ({ made }: ReturnType<typeof board>) => made.hear({ is: "unused", name: NAME }),
    ({ made }: ReturnType<typeof board>) => made.follow({ endpoints: [endpoint(0)] }),
  ]) {
    const one = board();
    one.made.used(NAME);
    one.hear(["192.0.2.1"]);
    forget(one);
    expect(one.told.at(-1)).toEqual({ name: NAME, places: undefined, first: undefined });
    expect([one.asked.at(-1), one.made.wanted, one.made.told]).toEqual(["drop db.example", [], []]);
    one.hear(["192.0.2.1"]); // on its way meanwhile
    expect(one.made.told).toEqual([]);
  }
});

test("an answer that leads where it may not is told once to the log, and always to people", () => {
  const { made, hear, logged } = board();
  made.used(NAME);
  hear([], ["127.0.0.1: loopback"]);
  hear([], ["127.0.0.1: loopback"]);
  expect(logged).toEqual(["a host name leads where it may not"]);
  expect(made.names).toMatchObject([{ refused: ["127.0.0.1: loopback"] }]);
});
