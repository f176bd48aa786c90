// Workloads whose user or slice is not there (yet), on a real kernel: the redirect is what it should be for all others, and whoever comes
// is known from his first connection on after the next look.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { SILENT_LOG } from "../../agent/base/log.ts";
import { RedirectKeeper } from "../../agent/control/redirect-keeper.ts";
import { removeRedirect } from "../../agent/os/redirect/apply.ts";
import { cgroupRoot, readSlice } from "../../agent/os/redirect/slice.ts";
import type { LocalWorkload, ProcessSelector, Snapshot } from "../../agent/policy/snapshot.ts";
import { VirtualClock } from "../support/virtual-clock.ts";
import { type Actor, AGENT_UID, canRun, eventually, HOST, Lab } from "./lab.ts";
import { APP_PORT, REVIEWS_UID, STRANGER_UID, VIP4 } from "./redirect-plan.ts";

type Seen = Record<string, number>;
const SLICE = `imtest${process.pid}.slice`;
const USER = "somebody";
const LATE_UID = 54_311;

function workload(name: string, selector: ProcessSelector, outboundPort: number): LocalWorkload {
  const ports = [{ appAddress: HOST.ip, appPort: APP_PORT + outboundPort - 15_101 }];
  return { name, namespace: "default", selector, outboundPort, ports } as never;
}
const snapshot: Snapshot = {
  ...{ epoch: 1, version: 1, trustDomain: "mesh.test", outboundPolicy: "allow_any" },
  host: { name: "vm1", identity: "", addresses: [HOST.ip] },
  workloads: [
    workload("reviews", { is: "uid", uid: REVIEWS_UID }, 15_101),
    workload("batch", { is: "slice", slice: SLICE }, 15_102),
    workload("late", { is: "user", user: USER }, 15_103),
  ],
  ...{ services: [], clusters: [], endpoints: [] },
};

const root = cgroupRoot();
const lacks =
  root === undefined ? "owners that come later: there are no cgroups v2 here" : undefined;
if (lacks !== undefined && process.env["CI"] !== undefined) throw new Error(lacks);
if (lacks !== undefined) console.error(`SKIPPED ${lacks}`);
const can = canRun("owners that come later") && lacks === undefined;

describe.skipIf(!can)("workloads whose user or slice is not there", () => {
  const slice = `${root}/${SLICE}`;
  const clock = new VirtualClock();
  /** As /etc/passwd would say. */
  const users = new Map<string, number>();
  let lab: Lab;
  let agent: Actor;
  let keeper: RedirectKeeper;

  beforeAll(async () => {
    lab = await Lab.up();
    agent = await lab.actor("host", AGENT_UID);
    for (const port of [15_001, 15_101, 15_102, 15_103])
      await agent.ask({ act: "listenRedirected", address: "127.0.0.1", port });
    await agent.ask({ act: "listenRedirected", address: "::", port: 15_006 });
    keeper = new RedirectKeeper(
      {
        // nft looks for cgroups where `ip netns exec` hides them; iptables leaves it to the kernel.
        ...{ backend: "iptables", mode: "declared", agentUid: AGENT_UID, hasIpv6: true },
        ...{ hostListenerPort: 15_001, inboundPort: 15_006, meshPort: 15_008, dnsPort: 15_053 },
        ...{ resolvers: [], exclusions: { uids: [], cidrs: [], ports: [] }, sshPorts: [] },
      },
      {
        runner: lab.runner,
        owners: { uidOf: (user) => users.get(user), sliceOf: (name) => readSlice(name) },
        timers: clock,
        log: SILENT_LOG,
      },
    );
  });
  afterAll(async () => {
    keeper.stop();
    await removeRedirect(lab.runner);
    await lab.down();
    if (existsSync(slice)) await eventually(() => removed(slice), 2_000);
  });

  const removed = (path: string): boolean => {
    try {
      rmdirSync(path);
      return true;
    } catch {
      return false; // its last process is still ending
    }
  };
  const seen = (): Promise<Seen> => agent.ask<Seen>({ act: "seen" });
  /** Where a first connection of somebody comes out. */
  const listenerOf = async (who: Actor): Promise<string> => {
    const before = await seen();
    await who.ask({ act: "dial", address: VIP4, port: 80, times: 1 });
    let found = "";
    await eventually(async () => {
      const now = await seen();
      found = Object.keys(now).find((key) => now[key] !== before[key]) ?? "";
      return found !== "";
    }, 2_000);
    return found.slice(0, 5);
  };
  /** Rules follow a look at once, and yet not in no time. */
  const comesOutAt = (who: Actor, listener: string): Promise<boolean> =>
    eventually(async () => {
      clock.pass(2_000);
      return (await listenerOf(who)) === listener;
    }, 5_000);
  /** A process in the slice, as whichever user. */
  const inSlice = async (): Promise<Actor> => {
    const actor = await lab.actor("host", STRANGER_UID);
    writeFileSync(`${slice}/cgroup.procs`, `${actor.pid}`);
    return actor;
  };
  const names = (): string[] => keeper.missing.map((text) => text.split(": ")[0] ?? "");
  /** The next look, and what follows from it. */
  const look = async (missing: readonly string[]): Promise<void> => {
    const isSo = (): boolean => {
      clock.pass(2_000); // each time: the next look is set when what followed from the last is done
      return JSON.stringify(names()) === JSON.stringify(missing);
    };
    expect(await eventually(isSo, 5_000)).toBe(true);
  };

  test("all others are redirected, what comes to its ports too, and the two are named", async () => {
    expect(await keeper.follow(snapshot)).toEqual({ ok: true, value: undefined });
    expect(keeper.missing).toEqual([
      `workload default/batch: this host has no slice ${SLICE}`,
      `workload default/late: this host has no user ${USER}`,
    ]);
    const [reviews, stranger, peer] = await Promise.all([
      lab.actor("host", REVIEWS_UID),
      lab.actor("host", LATE_UID),
      lab.actor("peer", 0),
    ]);
    expect(await listenerOf(reviews)).toBe("15101");
    expect(await listenerOf(stranger)).toBe("15001");
    await peer.ask({ act: "dial", address: HOST.ip, port: APP_PORT + 1, times: 1 });
    const arrived = `15006 <- ${HOST.ip}:${APP_PORT + 1}`;
    expect(await eventually(async () => (await seen())[arrived] === 1, 2_000)).toBe(true);
  });

  test("a slice that appears is known at the next look", async () => {
    mkdirSync(slice);
    await look(["workload default/late"]);
    expect(await comesOutAt(await inSlice(), "15102")).toBe(true);
  });

  test("a user who appears is known at the next look, and nothing else is touched", async () => {
    users.set(USER, LATE_UID);
    await look([]);
    expect(await comesOutAt(await lab.actor("host", LATE_UID), "15103")).toBe(true);
    await keeper.follow(snapshot); // IPv6's rules come after IPv4's
    const still = await lab.dump();
    clock.pass(20_000);
    await keeper.follow(snapshot); // after whatever those looks began
    expect(await lab.dump()).toBe(still);
  });

  test("a slice that goes is named again; made anew it is another cgroup, and known as that", async () => {
    for (const actor of lab.actors) if (actor !== agent) actor.kill();
    expect(await eventually(() => removed(slice), 2_000)).toBe(true);
    await look(["workload default/batch"]);
    mkdirSync(slice);
    await look([]);
    const first = await inSlice();
    expect(await comesOutAt(first, "15102")).toBe(true);
    first.kill();
    await first.ended;
    // Within one look: to a rule's path nothing has changed, and yet it would miss.
    expect(await eventually(() => removed(slice), 2_000)).toBe(true);
    mkdirSync(slice);
    const second = await inSlice();
    expect(await listenerOf(second)).toBe("15001");
    await look([]);
    expect(await comesOutAt(second, "15102")).toBe(true);
  });
});
