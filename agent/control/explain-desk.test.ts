import { expect, test } from "bun:test";
import { serverWorkload, snapshot } from "../../test/support/mesh-fixture.ts";
import { VirtualClock } from "../../test/support/virtual-clock.ts";
import { SILENT_LOG } from "../base/log.ts";
import { type Decision, DecisionBook } from "../observe/decision-book.ts";
import { DecisionSearch } from "./decision-search.ts";
import { ExplainDesk } from "./explain-desk.ts";

const nobody = {
  authorization: { deny: [], allow: [{ policy: "default/nobody", rules: [] }] },
};
const book = new DecisionBook({ nonce: 1, hashSeed: 1 }, { wallMs: () => 1_000, log: SILENT_LOG });
book.follow("north", { epoch: 1, version: 1 });
const id = book.note({
  cause: "authorization",
  by: "default/nobody",
  caller: { identity: "spiffe://mesh/ns/default/sa/client", address: "10.0.0.1" },
  workload: serverWorkload(nobody),
  service: undefined,
  destination: { address: "10.0.0.2", port: 8080 },
  request: undefined,
});

test("a decision of this host is explained; one that is gone, or no id, is told in a sentence", async () => {
  const desk = new ExplainDesk({
    find: async (asked) => book.find(asked),
    snapshot: () => snapshot("north", { workloads: [serverWorkload(nobody)] }),
  });
  expect(await desk.explain(id)).toMatchObject({
    ok: true,
    value: { host: "north", record: { id }, explanation: { verdict: "denied" } },
  });
  const gone = await desk.explain(`${id}0`);
  expect(gone).toEqual({
    ok: false,
    error: expect.stringContaining("does not know that decision"),
  });
  for (const text of ["", "x", "../status", `${id}/..`, "a".repeat(100)])
    expect(await desk.explain(text)).toEqual({
      ok: false,
      error: expect.stringContaining("no decision id"),
    });
});

class Threads {
  readonly clock = new VirtualClock();
  readonly search = new DecisionSearch(this.clock);
  readonly asked: number[] = [];
  readonly all = [0, 1].map(() => ({
    send: ({ turn }: { turn: number }) => void this.asked.push(turn),
  }));
}

test("all threads are asked, and the one that knows decides", async () => {
  const { search, all, asked } = new Threads();
  const found = search.ask(all, id);
  const none = search.ask(all, id);
  expect(asked).toEqual([1, 1, 2, 2]);
  const decision = book.find(id) as Decision;
  search.heard(1, undefined);
  search.heard(1, decision);
  search.heard(1, undefined); // too late
  search.heard(2, undefined);
  search.heard(2, undefined);
  expect(await found).toBe(decision);
  expect(await none).toBeUndefined();
});

test("a thread that says nothing holds nobody up for longer than a second", async () => {
  const { search, all, clock } = new Threads();
  const found = search.ask(all, id);
  clock.pass(1_000);
  expect(await found).toBeUndefined();
  expect(await search.ask([], id)).toBeUndefined();
});
