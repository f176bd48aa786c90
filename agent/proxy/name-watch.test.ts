import { expect, test } from "bun:test";
import { type Answer, decode, encode, type Packet } from "dns-packet";
import { VirtualClock } from "../../test/support/virtual-clock.ts";
import { SeededRandom } from "../base/clock.ts";
import type { NameNews } from "../policy/told-names.ts";
import { lookUp } from "./lookup.ts";
import {
  LOOKUP_TTL_SECONDS_MAX,
  LOOKUP_TTL_SECONDS_MIN,
  LOOKUPS_AT_ONCE_MAX,
  NameWatch,
  UNUSED_MS,
  WATCHED_NAMES_MAX,
} from "./name-watch.ts";
import { type ForwardEvents, RESOLVER_TIMEOUT_MS } from "./resolver-exchange.ts";

interface Asked {
  readonly resolver: string;
  readonly transport: "udp" | "tcp";
  readonly name: string;
  readonly type: string;
  answer(answers: readonly Answer[], more?: Partial<Packet>): void;
  fail(): void;
}

/** Resolvers that answer when the test says so, or at once as it says. */
function watching(
  options: {
    hasIpv6?: boolean;
    resolvers?: readonly string[];
    always?: (asked: Asked) => void;
  } = {},
) {
  const clock = new VirtualClock();
  const asked: Asked[] = [];
  const told: NameNews[] = [];
  let id = 1;
  const open = (resolver: string, transport: "udp" | "tcp", events: ForwardEvents) => ({
    send(message: Uint8Array): void {
      const packet = decode(Buffer.from(message));
      const [question] = packet.questions ?? [];
      const one: Asked = {
        resolver,
        transport,
        name: question?.name ?? "",
        type: question?.type ?? "",
        answer: (answers, more = {}) =>
          events.onMessage(
            encode({
              type: "response",
              id: packet.id ?? 0,
              flags: 0x180,
              questions: packet.questions ?? [],
              answers: [...answers],
              ...more,
            }),
          ),
        fail: () => events.onFailed(),
      };
      asked.push(one);
      options.always?.(one);
    },
    close() {},
  });
  const deps = { forwarders: { open }, timers: clock, randomId: () => id++ };
  const watch = new NameWatch(
    { hasIpv6: options.hasIpv6 ?? false },
    {
      lookUp: (question, done) =>
        lookUp(question, options.resolvers ?? ["10.0.0.53", "10.0.0.54"], deps, done),
      timers: clock,
      random: new SeededRandom(1),
      nowMs: () => clock.nowMs(),
      isLocalAddress: (address) => address === "10.0.0.1",
      tell: (news) => told.push(news),
    },
  );
  return { clock, asked, told, watch };
}

const a = (name: string, data: string, ttl = 60): Answer => ({ type: "A", name, ttl, data });
const aaaa = (name: string, data: string): Answer => ({ type: "AAAA", name, ttl: 60, data });

test("a name that is wanted is asked for at once, and again when its time is over; its use in between asks nobody", () => {
  const { clock, asked, told, watch } = watching();
  watch.want("db.example");
  expect(asked).toMatchObject([{ resolver: "10.0.0.53", name: "db.example", type: "A" }]);
  watch.want("db.example");
  asked[0]?.answer([a("db.example", "192.0.2.1", 30), a("db.example", "192.0.2.2", 40)]);
  expect(told).toEqual([
    {
      is: "answered",
      name: "db.example",
      addresses: ["192.0.2.1", "192.0.2.2"],
      refused: [],
      ttlSeconds: 30,
      resolver: "10.0.0.53",
    },
  ]);
  clock.pass(29_000);
  watch.want("db.example");
  expect(asked).toHaveLength(1);
  clock.pass(1_000);
  expect(asked).toHaveLength(2);
});

test("an answer's time has a floor and a ceiling, and that there is none is asked again within a minute", () => {
  for (const [ttl, seconds] of [
    [0, LOOKUP_TTL_SECONDS_MIN],
    [604_800, LOOKUP_TTL_SECONDS_MAX],
  ] as const) {
    const { told, watch } = watching({ always: (one) => one.answer([a("x", "192.0.2.1", ttl)]) });
    watch.want("x");
    expect(told).toMatchObject([{ ttlSeconds: seconds }]);
  }
  const soa = { mname: "ns", rname: "x", minimum: 86_400 };
  const authorities: Answer[] = [{ type: "SOA", name: "", ttl: 86_400, data: soa }];
  const { told, watch } = watching({
    always: (one) => one.answer([], { flags: 0x183, authorities }),
  });
  watch.want("x");
  expect(told).toMatchObject([{ is: "answered", addresses: [], ttlSeconds: 60 }]);
});

test("both families are asked where the host has both, IPv4 first; one that fails is missed only where the other has nothing", () => {
  const both = watching({ hasIpv6: true });
  both.watch.want("x");
  expect(both.asked.map(({ type }) => type)).toEqual(["A", "AAAA"]);
  both.asked[1]?.answer([aaaa("x", "2001:db8::2")]);
  expect(both.told).toEqual([]);
  both.asked[0]?.answer([a("x", "192.0.2.1")]);
  expect(both.told).toMatchObject([{ addresses: ["192.0.2.1", "2001:db8::2"] }]);
  for (const [answers, news] of [
    [[a("x", "192.0.2.1")], { is: "answered", addresses: ["192.0.2.1"] }],
    [[], { is: "failed", reason: "10.0.0.54 answers SERVFAIL" }],
  ] as const) {
    const { watch, told } = watching({
      hasIpv6: true,
      always: (one) => (one.type === "A" ? one.answer(answers) : one.answer([], { flags: 0x182 })),
    });
    watch.want("x");
    expect(told).toMatchObject([news]);
  }
});

test("a resolver that cannot, is silent or unreachable is passed over; a cut answer is asked for again over TCP", () => {
  const { clock, asked, told, watch } = watching({ resolvers: ["a", "b", "c", "d"] });
  watch.want("x");
  asked[0]?.answer([], { flags: 0x182 });
  clock.pass(RESOLVER_TIMEOUT_MS);
  asked[2]?.fail();
  asked[3]?.answer([], { flags: 0x380 });
  asked[4]?.answer([a("x", "192.0.2.1")]);
  expect(asked.map(({ resolver, transport }) => `${resolver} ${transport}`)).toEqual([
    "a udp",
    "b udp",
    "c udp",
    "d udp",
    "d tcp",
  ]);
  expect(told).toMatchObject([{ is: "answered", addresses: ["192.0.2.1"], resolver: "d" }]);
  const alone = watching({ resolvers: [] });
  alone.watch.want("x");
  expect(alone.told).toEqual([
    { is: "failed", name: "x", reason: "resolv.conf of this host names no resolver" },
  ]);
});

test("after failures it waits longer and longer, to a bound, and after an answer begins anew", () => {
  let works = false;
  const { clock, asked, told, watch } = watching({
    resolvers: ["a"],
    always: (one) => (works ? one.answer([a("x", "192.0.2.1")]) : one.fail()),
  });
  watch.want("x");
  const waits: number[] = [];
  for (let at = clock.nowMs(), count = asked.length; waits.length < 10; ) {
    clock.pass(100);
    watch.want("x");
    if (asked.length === count) continue;
    count = asked.length;
    waits.push(clock.nowMs() - at);
    at = clock.nowMs();
  }
  expect(waits[0]).toBeLessThanOrEqual(1_100);
  expect(Math.max(...waits)).toBeLessThanOrEqual(60_100);
  expect(waits.at(-1)).toBeGreaterThanOrEqual(30_000);
  works = true;
  clock.pass(60_000);
  expect(told.at(-1)).toMatchObject({ is: "answered" });
});

test("a name that nobody used for ten minutes is not asked for any more, and is told so", () => {
  const { clock, asked, told, watch } = watching({
    always: (one) => one.answer([a("x", "192.0.2.1")]),
  });
  watch.want("x");
  clock.pass(300_000);
  watch.want("x");
  clock.pass(UNUSED_MS);
  expect(told.at(-1)).toEqual({ is: "unused", name: "x" });
  const count = asked.length;
  clock.pass(UNUSED_MS);
  expect(asked).toHaveLength(count);
  watch.want("x");
  expect(asked).toHaveLength(count + 1);
});

test("a name that was dropped is not asked for, nor is an answer to it told", () => {
  const { clock, asked, told, watch } = watching();
  watch.want("x");
  watch.drop("x");
  asked[0]?.answer([a("x", "192.0.2.1", 5)]);
  clock.pass(60_000);
  expect([asked.length, told]).toEqual([1, []]);
});

test("addresses that a name may not lead to are left out, each with why", () => {
  const found = ["127.0.0.1", "192.0.2.1", "10.0.0.1", "240.240.0.3"].map((ip) => a("x", ip));
  const { told, watch } = watching({ always: (one) => one.answer(found) });
  watch.want("x");
  expect(told).toMatchObject([
    {
      addresses: ["192.0.2.1"],
      refused: [
        "127.0.0.1: loopback",
        "10.0.0.1: this host itself",
        "240.240.0.3: reserved, or a virtual address of a mesh",
      ],
    },
  ]);
});

test("so many names and no more are looked up, so many at once, and each of them in its turn", () => {
  const { asked, told, watch } = watching();
  for (let i = 0; i < WATCHED_NAMES_MAX; i++) watch.want(`n${i}`);
  expect(asked).toHaveLength(LOOKUPS_AT_ONCE_MAX);
  watch.want("one-too-many");
  expect(told).toEqual([
    { is: "failed", name: "one-too-many", reason: "this host looks up 1024 names already" },
  ]);
  for (let i = 0; i < WATCHED_NAMES_MAX; i++) asked[i]?.answer([a(`n${i}`, "192.0.2.1")]);
  expect(new Set(asked.map(({ name }) => name)).size).toBe(WATCHED_NAMES_MAX);
  expect(told).toHaveLength(1 + WATCHED_NAMES_MAX);
});

test("a name that is dropped while it waits for its turn is not asked for", () => {
  const { asked, watch } = watching();
  for (let i = 0; i <= LOOKUPS_AT_ONCE_MAX; i++) watch.want(`n${i}`);
  watch.want("last");
  watch.drop(`n${LOOKUPS_AT_ONCE_MAX}`);
  asked[0]?.answer([a("n0", "192.0.2.1")]);
  expect(asked.slice(LOOKUPS_AT_ONCE_MAX).map(({ name }) => name)).toEqual(["last"]);
});
