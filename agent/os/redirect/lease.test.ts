// In which order a lease begins and ends; that it works is test/netns/dns.test.ts.
import { expect, test } from "bun:test";
import { SILENT_LOG } from "../../base/log.ts";
import { DnsLease } from "./lease.ts";
import type { Ran } from "./runner.ts";

/** Programs that end when the test says so, and what was done with them. */
function world(backend: "nft" | "iptables") {
  const told: string[] = [];
  const first = Promise.withResolvers<Ran>();
  const fed = Promise.withResolvers<void>();
  const runner = {
    run: (argv: readonly string[], input = "") => {
      told.push(`run ${argv.join(" ")}: ${input.split(" ")[0]}`);
      return first.promise;
    },
    feed: (argv: readonly string[]) => {
      told.push(`feed ${argv.join(" ")}`);
      return {
        write: (line: string) => void told.push(line.split(" ")[0] ?? ""),
        end: () => fed.promise,
        isAlive: true,
        complaint: "",
      };
    },
  };
  const timers = { after: () => ({ cancel: () => void told.push("no more renewals") }) };
  const lease = new DnsLease(
    { backend, resolvers: ["10.0.0.53"] },
    { runner, timers, log: SILENT_LOG },
  );
  return { lease, told, first, fed, runner };
}

async function isSettled(one: Promise<unknown>): Promise<boolean> {
  let settled = false;
  void one.then(() => {
    settled = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 1));
  return settled;
}

const DONE: Ran = { code: 0, stdout: "", stderr: "" };

for (const [backend, program, feed] of [
  ["nft", "nft -f -", "nft -i"],
  ["iptables", "ipset -", "ipset -"],
] as const) {
  test(`${backend}: it has begun when the kernel has it, and ended when the kernel has it no more`, async () => {
    const { lease, told, first, fed } = world(backend);
    const begun = lease.start();
    expect(await isSettled(begun)).toBe(false);
    expect(told).toEqual([`run ${program}: add`]);
    first.resolve(DONE);
    await begun;
    expect(told.splice(0)).toEqual([`run ${program}: add`, `feed ${feed}`, "add"]);
    const ended = lease.stop();
    expect(await isSettled(ended)).toBe(false);
    fed.resolve();
    await ended;
    expect(told).toContain("no more renewals");
  });
}

test("one that was released while it began renews nothing", async () => {
  const { lease, told, first } = world("nft");
  const begun = lease.start();
  lease.release();
  first.resolve(DONE);
  await begun;
  expect(told).toEqual(["run nft -f -: add"]);
});

test("one that the kernel refused at first is tried again", async () => {
  const { lease, told, first } = world("iptables");
  const begun = lease.start();
  first.resolve({ code: 1, stdout: "", stderr: "no such set" });
  await begun;
  expect(told.slice(1)).toEqual(["feed ipset -", "add"]);
});

test("a feed that ends is replaced and complained of once, and not at all where the process is about to end", async () => {
  for (const outlives of [false, true]) {
    const { told, runner } = world("nft");
    const warned: string[] = [];
    const log = { ...SILENT_LOG, warn: (message: string) => void warned.push(message) };
    const renewals: (() => void)[] = [];
    const timers = {
      after: (_ms: number, run: () => void) => {
        renewals.push(run);
        return { cancel() {} };
      },
    };
    const dying = {
      run: () => Promise.resolve(DONE),
      feed: (argv: readonly string[]) => ({ ...runner.feed(argv), isAlive: false }),
    };
    const lease = new DnsLease(
      { backend: "nft", resolvers: ["10.0.0.53"] },
      { runner: dying, timers, log },
    );
    await lease.start();
    if (outlives) lease.outlive();
    for (let i = 0; i < 3; i++) renewals.shift()?.();
    expect(told.filter((one) => one.startsWith("feed"))).toHaveLength(4);
    expect(warned).toHaveLength(outlives ? 0 : 1);
  }
});
