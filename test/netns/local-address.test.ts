// What the kernel delivers to the host itself must not pass for a stranger, or a local user would get round a workload's policy.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Actor, AGENT_UID, canRun, HOST, Lab, PEER } from "./lab.ts";

describe.skipIf(!canRun("local addresses"))("local addresses", () => {
  let lab: Lab;
  let agent: Actor;
  beforeAll(async () => {
    lab = await Lab.up();
    agent = await lab.actor("host", AGENT_UID);
  });
  afterAll(() => lab.down());
  const isLocal = (address: string): Promise<boolean> =>
    agent.ask<boolean>({ act: "isLocal", address });

  test("a range that an administrator made local by hand is the host's own, from that moment on", async () => {
    expect(await isLocal("10.88.3.4")).toBe(false);
    const made = ["ip", "route", "add", "local", "10.88.0.0/16", "dev", "lo", "src", HOST.ip];
    expect((await lab.runner.run(made)).code).toBe(0);
    expect(await isLocal("10.88.3.4")).toBe(true);
    expect(await isLocal("10.89.3.4")).toBe(false);
  });

  test("the host's addresses are its own and its neighbour's are not, IPv4 and IPv6", async () => {
    expect(await Promise.all([HOST.ip, HOST.ip6, "127.0.0.9", "::1"].map(isLocal))).toEqual([
      true,
      true,
      true,
      true,
    ]);
    expect(await Promise.all([PEER.ip, PEER.ip6].map(isLocal))).toEqual([false, false]);
  });
});
