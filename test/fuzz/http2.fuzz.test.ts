// Structure-aware differential fuzz of the HTTP/2 codec: connections of a client or an app, of every form that frames and header blocks may
// take and then bent, are read by the agent and by nghttp2. Whatever the agent passes on in HTTP/1.1 must be what nghttp2 finds in the same
// bytes, message for message. Bounded by FUZZ_SECONDS (default 2). A failure prints its bytes: add them to corpus/http2-codec.json, so that they are tried
// first ever after.
import { expect, test } from "bun:test";
import corpus from "./corpus/http2-codec.json" with { type: "json" };
import { answersCase, type Http2Case, judge, type Ran, requestsCase, run } from "./http2-case.ts";

/** Of each of the two. */
const SECONDS = Number(process.env["FUZZ_SECONDS"] ?? 2) / 2;
const START = Number(process.env["FUZZ_SEED"] ?? Date.now() % 2 ** 31);
const SHOWN_AT_ONCE = 500;

test.each(corpus as { name: string; case: Http2Case }[])("once found: $name", ({ case: one }) => {
  const ran = run(one);
  expect(ran.passed.length).toBeGreaterThan(0);
  judge([ran]);
});

test.each([
  ["request", requestsCase],
  ["answer", answersCase],
] as const)(
  "every %s that passes is the one that nghttp2 finds in the same bytes",
  (what, makeCase) => {
    const until = performance.now() + SECONDS * 1_000;
    let runs = 0;
    let same = 0;
    while (performance.now() < until) {
      const ran: Ran[] = [];
      for (; ran.length < SHOWN_AT_ONCE && performance.now() < until; runs++) {
        const one = makeCase((START + runs) | 0);
        try {
          ran.push(run(one));
        } catch (cause) {
          throw new Error(`${cause}: ${JSON.stringify(one)}`, { cause });
        }
      }
      same += judge(ran);
    }
    process.stdout.write(
      `http2 fuzz: seeds ${START} to ${START + runs - 1}, ${same} passed (${what})\n`,
    );
    // A fuzz in which everything is refused proves nothing.
    expect(same).toBeGreaterThan(runs / 4 - 25);
  },
  SECONDS * 1_000 + 60_000,
);
