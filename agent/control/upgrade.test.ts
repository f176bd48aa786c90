import { expect, test } from "bun:test";
import { SILENT_LOG } from "../base/log.ts";
import { err, ok, type Result } from "../base/result.ts";
import { Upgrade } from "./upgrade.ts";

const SOCKETS = [{ name: "tcp 127.0.0.1 15001", fd: 7 }];

/** What was done, in order. */
function world(started: () => Promise<Result<number, string>>) {
  const did: string[] = [];
  const drained = Promise.withResolvers<void>();
  const lingered = Promise.withResolvers<void>();
  const upgrade = new Upgrade(
    { words: ["agent", "--no-dns"], drainLimitMs: 60_000 },
    {
      start: (words, sockets) => {
        did.push(`start ${words.join(" ")} with ${sockets.map(({ name }) => name).join()}`);
        return started();
      },
      sockets: async () => SOCKETS,
      pause: async () => void did.push("pause"),
      resume: () => void did.push("resume"),
      release: (pid) => void did.push(`release to ${pid}`),
      drain: (limitMs) => {
        did.push(`drain ${limitMs}`);
        return drained.promise;
      },
      wait: () => lingered.promise,
      log: SILENT_LOG,
    },
  );
  return { did, upgrade, drained, lingered };
}

test("what writes to disk rests before a successor starts, and what accepts goes on until it serves", async () => {
  const serves = Promise.withResolvers<Result<number, string>>();
  const { did, upgrade, drained, lingered } = world(() => serves.promise);
  const outcome = upgrade.run();
  while (did.length < 2) await Promise.resolve();
  expect(did).toEqual(["pause", "start agent --no-dns with tcp 127.0.0.1 15001"]);
  serves.resolve(ok(42));
  expect(await outcome).toEqual(ok(42));
  expect(did.slice(2)).toEqual(["release to 42", "drain 60000"]);
  let isOver = false;
  void upgrade.over.then(() => {
    isOver = true;
  });
  drained.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  expect([upgrade.isDone, isOver]).toEqual([true, false]); // names asked for are answered yet
  lingered.resolve();
  await upgrade.over;
});

test("a successor that does not serve leaves everything as it was, and may be tried again", async () => {
  const { did, upgrade } = world(async () => err("it ended with 1"));
  expect(await upgrade.run()).toEqual(err("it ended with 1"));
  expect([did.at(-1), upgrade.isDone]).toEqual(["resume", false]);
  await upgrade.run();
  expect(did.filter((one) => one === "pause")).toHaveLength(2);
});

test("one upgrade at a time", async () => {
  const { did, upgrade } = world(() => new Promise(() => {}));
  void upgrade.run();
  expect(await upgrade.run()).toMatchObject({ ok: false });
  expect(did.filter((one) => one === "pause")).toHaveLength(1);
});
