// The two-sided proxy under fuzz: a client and an app that send anything, with the agent's data plane between them. What a strict reader
// that shares nothing with the codec finds in the bytes that were forwarded must be what was sent, message for message, in both
// directions, and nothing may be left behind. Bounded by FUZZ_SECONDS (default 2; the full tier sets 600). A failure prints its case:
// add it to corpus/http1-proxy.json, so that it is tried first ever after.
import { expect, test } from "bun:test";
import corpus from "./corpus/http1-proxy.json" with { type: "json" };
import { answer, Generator, requests } from "./http1-messages.ts";
import { readOtherwise, type Shown } from "./llhttp.ts";
import { type ProxyCase, runCase } from "./proxy-case.ts";

const SECONDS = Number(process.env["FUZZ_SECONDS"] ?? 2);
const START = Number(process.env["FUZZ_SEED"] ?? Date.now() % 2 ** 31);
/** Of this process, however long it runs: 160 MB are usual, and a world that each case leaves behind is 3 GB in a minute. */
const RSS_BYTES_MAX = 600_000_000;
/** Requests and answers that passed and are shown to llhttp as well. */
const SHOWN_MAX = 20_000;

function makeCase(seed: number): ProxyCase {
  const g = new Generator(seed);
  const travel = g.one(["whole", "pieces", "pieces", "bytes"] as const);
  // What comes behind an answer once the next request is on its way cannot be told from an answer to that, by anybody.
  const isAlone = travel !== "whole";
  return {
    client: requests(g),
    answers: Array.from({ length: 3 }, () => ({
      text: answer(g, isAlone),
      isEarly: g.chance(0.1),
      ends: g.chance(0.2),
    })),
    travel,
    way: g.one(["outbound", "inbound", "mesh"]),
    seed,
  };
}

test.each(corpus as { name: string; case: ProxyCase }[])("once found: $name", ({ case: one }) => {
  runCase(one);
});

test(
  "what leaves at either end is what came in at the other, for a reader that shares nothing with the codec",
  () => {
    const until = performance.now() + SECONDS * 1_000;
    let runs = 0;
    let passed = 0;
    let answered = 0;
    const shown: Shown[] = [];
    for (; performance.now() < until; runs++) {
      const one = makeCase((START + runs) | 0);
      try {
        const found = runCase(one);
        passed += found.passed;
        answered += found.answered;
        if (shown.length < SHOWN_MAX) shown.push(...found.shown);
      } catch (cause) {
        const name = `${cause instanceof Error ? cause.message : cause} (FUZZ_SEED=${START + runs})`;
        throw new Error(JSON.stringify({ name, case: one }), { cause });
      }
    }
    process.stdout.write(
      `proxy fuzz: seeds ${START} to ${START + runs - 1}, ${passed} requests passed, ${answered} answers\n`,
    );
    // A fuzz in which everything is refused proves nothing.
    expect(passed).toBeGreaterThan(runs / 4 - 25);
    expect(answered).toBeGreaterThan(runs / 8 - 25);
    expect(readOtherwise(shown)).toEqual([]);
    expect(process.memoryUsage.rss()).toBeLessThan(RSS_BYTES_MAX);
  },
  SECONDS * 1_000 + 30_000,
);
