// Seeded pools of gossiping members on virtual time. SEED, GOSSIP_SEEDS, GOSSIP_MEMBERS and GOSSIP_LARGE_SEEDS choose others; all 100
// large ones take an hour of one core (docs/test-status.md says when they were last run).
import { expect, test } from "bun:test";
import { writeLetter } from "../../agent/membership/codec.ts";
import { type SimulatedNode, SimulatedPool } from "./simulated-pool.ts";

const isFull = process.env["IRONMESH_TIER"] === "full";
const SEEDS = Number(process.env["GOSSIP_SEEDS"] ?? (isFull ? 100 : 2));
const MEMBERS = Number(process.env["GOSSIP_MEMBERS"] ?? 200);
/** Seeds that are run with LARGE members: about half a minute each. */
const LARGE_SEEDS = Number(process.env["GOSSIP_LARGE_SEEDS"] ?? (isFull ? 3 : 0));
const LARGE = 1_000;
const FIRST_SEED = Number(process.env["SEED"] ?? 1);
const CHURN_STEPS = 12;

/** Crashes, returns and one-way cuts at once, while datagrams are lost. */
function churn(pool: SimulatedPool): void {
  for (let step = 0; step < CHURN_STEPS; step++) {
    for (let i = 0; i < pool.nodes.length / 100; i++) {
      const node = pool.pick();
      if (!node.isUp) node.start();
      else if (pool.random.unit() < 0.6) node.crash();
      else pool.cuts.add(`${node.name}>${pool.pick().name}`);
    }
    pool.clock.pass(pool.random.unit() * 800);
  }
  pool.cuts.clear();
}

function agreeAfterChurn(members: number, seed: number): void {
  const pool = new SimulatedPool({ members, seed, loss: 0.02, delayMaxMs: 5, isUnsealed: true });
  pool.clock.pass(1_000);
  churn(pool);
  const ms = pool.msUntil(() => pool.disagreement() === undefined, 60_000);
  expect(pool.disagreement()).toBeUndefined();
  expect(ms).toBeLessThan(60_000);
  expect(pool.nodes.some(({ isUp }) => !isUp)).toBe(true);
}

/** They once did not agree: who came back learned nothing from its first exchange, and asked the next a minute later. */
for (const seed of [31, 80]) {
  test(`200 members agree after churn (seed ${seed}, which once did not)`, () => {
    agreeAfterChurn(200, seed);
  }, 300_000);
}
for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
  test(`${MEMBERS} members agree after churn (seed ${seed})`, () => {
    agreeAfterChurn(MEMBERS, seed);
  }, 300_000);
}
for (let seed = FIRST_SEED; seed < FIRST_SEED + LARGE_SEEDS; seed++) {
  test(`${LARGE} members agree after churn (seed ${seed})`, () => {
    agreeAfterChurn(LARGE, seed);
  }, 300_000);
}

test("a host that loses power gets no traffic from any of six after 1.5 s at most, 1.1 s in half of 40 runs", () => {
  const windows: number[] = [];
  for (let seed = 1; seed <= 40; seed++) {
    const pool = sixMembers(seed);
    const victim = pool.pick();
    victim.crash();
    const others = pool.nodes.filter((node) => node !== victim);
    windows.push(pool.msUntil(() => others.every((n) => n.lowered.has(victim.name)), 10_000));
  }
  windows.sort((a, b) => a - b);
  expect(windows[20]).toBeLessThanOrEqual(1_100);
  expect(windows[39]).toBeLessThanOrEqual(1_500);
});

test("where everybody is away for up to 0.4 s again and again, the dead is found within 5 s, within 3 s in half of 30 runs", () => {
  const windows: number[] = [];
  for (let seed = 1; seed <= 30; seed++) {
    const pool = sixMembers(seed);
    for (const node of pool.nodes) stallAgainAndAgain(pool, node);
    pool.clock.pass(10_000);
    const victim = pool.pick();
    victim.crash();
    const others = pool.nodes.filter((node) => node !== victim);
    windows.push(pool.msUntil(() => others.every((n) => n.lowered.has(victim.name)), 20_000));
  }
  windows.sort((a, b) => a - b);
  expect(windows[15]).toBeLessThanOrEqual(3_000);
  expect(windows[29]).toBeLessThanOrEqual(5_000);
});

function stallAgainAndAgain(pool: SimulatedPool, node: SimulatedNode): void {
  pool.clock.after(pool.random.unit() * 600, () => {
    node.freeze();
    pool.clock.after(pool.random.unit() * 400, () => {
      node.thaw();
      stallAgainAndAgain(pool, node);
    });
  });
}

test("who comes back is found and refutes what was said of it, with all it knew forgotten", () => {
  const pool = sixMembers(3);
  const victim = pool.nodes[2];
  victim?.crash();
  pool.clock.pass(5_000);
  expect(pool.disagreement()).toBeUndefined();
  victim?.start();
  const ms = pool.msUntil(() => pool.disagreement() === undefined, 10_000);
  expect(ms).toBeLessThan(3_000);
});

test("a member whose sending is cut is found as one that lost power is", () => {
  const pool = sixMembers(4);
  const [mute, ...others] = pool.nodes;
  for (const other of others) pool.cuts.add(`${mute?.name}>${other.name}`);
  const ms = pool.msUntil(() => others.every((n) => n.lowered.has(mute?.name ?? "")), 10_000);
  expect(ms).toBeLessThan(1_500);
  pool.cuts.clear();
  expect(pool.msUntil(() => pool.disagreement() === undefined, 10_000)).toBeLessThan(5_000);
});

test("where only two do not reach each other, they lower each other, and nobody else does or calls them dead", () => {
  const pool = sixMembers(5);
  const [a, b, ...others] = pool.nodes;
  pool.cuts.add(`${a?.name}>${b?.name}`);
  pool.clock.pass(8_000);
  expect([...(a?.lowered.keys() ?? [])]).toEqual(["vm-1"]);
  expect([...(b?.lowered.keys() ?? [])]).toEqual(["vm-0"]);
  for (const other of others) expect(other.lowered.size).toBe(0);
  for (const node of pool.nodes)
    for (const view of node.views) expect(view.status === "dead").toBe(false);
});

test("a hostile member with the keys lowers nobody by what it says, and adds nobody", () => {
  const pool = sixMembers(6);
  const [hostile, subject, ...others] = pool.nodes;
  const keyring = pool.keyring();
  for (let round = 0; round < 200; round++) {
    const by = `vm-${pool.random.int32() & 7}`;
    const incarnation = round % 3 === 0 ? 2 ** 32 - 1 : round;
    const status = round % 2 === 0 ? "dead" : "suspect";
    const claims = [
      { name: subject?.name ?? "", status, incarnation, by } as const,
      { name: "vm-99", status: "alive", incarnation: 1, by } as const,
    ];
    const message = { is: "gossip", from: hostile?.name ?? "" } as const;
    const sealed = keyring.seal(writeLetter({ message, claims })) ?? new Uint8Array();
    for (const other of others) other.swim?.receive(sealed);
    pool.clock.pass(50);
    for (const other of others) expect(other.lowered.size).toBe(0);
  }
  for (const node of pool.nodes) expect(node.views.some((v) => v.name === "vm-99")).toBe(false);
});

test("forged answers for a dead member do not keep it up: an answer needs the nonce of the question", () => {
  const pool = sixMembers(7);
  const [hostile, victim, ...others] = pool.nodes;
  const keyring = pool.keyring();
  victim?.crash();
  for (let round = 0; round < 60; round++) {
    const message = {
      is: "ack",
      nonce: pool.random.int32() >>> 0,
      from: victim?.name ?? "",
      isLeaving: false,
    } as const;
    const claims = [
      { name: message.from, status: "alive", incarnation: round, by: message.from } as const,
    ];
    const sealed = keyring.seal(writeLetter({ message, claims })) ?? new Uint8Array();
    for (const other of others) other.swim?.receive(sealed);
    pool.clock.pass(50);
  }
  expect(hostile?.lowered.has("vm-1")).toBe(true);
  for (const other of others) expect(other.lowered.has("vm-1")).toBe(true);
});

test("a member that was stopped, answered late and then lost power is found as soon as any other", () => {
  const windows: number[] = [];
  for (let seed = 1; seed <= 20; seed++) {
    const pool = sixMembers(seed);
    const [victim, ...others] = pool.nodes;
    victim?.freeze();
    pool.clock.pass(3_000);
    victim?.thaw();
    pool.clock.pass(2_000);
    victim?.crash();
    windows.push(pool.msUntil(() => others.every((n) => n.lowered.has("vm-0")), 10_000));
  }
  expect(Math.max(...windows)).toBeLessThanOrEqual(1_700);
});

test("a member that was stopped for a while accuses nobody when it goes on, and one that leaves gets no more traffic", () => {
  const pool = sixMembers(8);
  const [sleeper, leaver, ...others] = pool.nodes;
  sleeper?.freeze();
  pool.clock.pass(4_000);
  for (const other of others) expect(other.lowered.has("vm-0")).toBe(true);
  sleeper?.thaw();
  pool.clock.pass(2_000);
  expect(pool.nodes.flatMap((node) => [...node.lowered.keys()])).toEqual([]);
  leaver?.swim?.leave();
  pool.clock.pass(500);
  for (const other of others) expect([...other.lowered.keys()]).toEqual(["vm-1"]);
});

test("a pool at rest sends at most 15 datagrams a member and second, and strangers are not answered", () => {
  const pool = sixMembers(9);
  const before = pool.datagrams;
  pool.clock.pass(10_000);
  expect((pool.datagrams - before) / 6 / 10).toBeLessThan(15);
  const node = pool.nodes[0];
  const sent = pool.datagrams;
  const refused = node?.swim?.refused ?? 0;
  const message = { is: "ping", nonce: 1, from: "stranger", to: "vm-0" } as const;
  node?.swim?.receive(pool.keyring().seal(writeLetter({ message, claims: [] })) as Uint8Array);
  node?.swim?.receive(Uint8Array.of(1, 2, 3));
  expect(node?.swim?.refused).toBe(refused + 2);
  expect(pool.datagrams).toBe(sent);
});

function sixMembers(seed: number): SimulatedPool {
  const pool = new SimulatedPool({ members: 6, seed, loss: 0.01, delayMaxMs: 2 });
  pool.clock.pass(5_000);
  expect(pool.disagreement()).toBeUndefined();
  return pool;
}
