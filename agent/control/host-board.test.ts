import { expect, test } from "bun:test";
import { VirtualClock } from "../../test/support/virtual-clock.ts";
import { HEALTH_TURN_SLOT, HOSTS_DOWN_SLOT, SharedSlots } from "../base/slots.ts";
import type { Endpoint } from "../policy/snapshot.ts";
import { HostBoard, VOUCHED_MS } from "./host-board.ts";

const endpoint = (host: string | undefined, hostHealth: number): Endpoint =>
  ({ host, slots: { hostHealth } }) as Partial<Endpoint> as Endpoint;

function fixture() {
  const clock = new VirtualClock();
  const slots = new SharedSlots(new ArrayBuffer(4096));
  let told = 0;
  const board = new HostBoard({ slots, timers: clock, onChange: () => told++ });
  board.useSnapshot({ endpoints: [endpoint("a", 100), endpoint("a", 100), endpoint("b", 105)] });
  return { clock, slots, board, told: () => told };
}

test("a host that goes down is written where threads look, once, and threads are told", () => {
  const { slots, board, told } = fixture();
  const [turn, before] = [slots.read(HEALTH_TURN_SLOT), told()];
  board.set("a", true);
  board.set("a", true);
  expect([slots.read(100), slots.read(105), slots.read(HOSTS_DOWN_SLOT)]).toEqual([1, 0, 1]);
  expect(slots.read(HEALTH_TURN_SLOT)).toBe(turn + 1);
  expect(told()).toBe(before + 1);
  board.set("a", false);
  expect([slots.read(100), slots.read(HOSTS_DOWN_SLOT)]).toEqual([0, 0]);
});

test("a host without endpoints is remembered until a snapshot gives it some", () => {
  const { slots, board } = fixture();
  board.set("c", true);
  slots.write(200, 0);
  board.useSnapshot({ endpoints: [endpoint("c", 200), endpoint(undefined, 300)] });
  expect([slots.read(200), slots.read(300)]).toEqual([1, 0]);
});

test("what a success vouched for counts for a while, then what gossip sees counts again", () => {
  const { clock, slots, board } = fixture();
  board.set("a", true);
  slots.write(100, 2);
  clock.pass(VOUCHED_MS / 2);
  expect(slots.read(100)).toBe(2);
  clock.pass(VOUCHED_MS);
  expect(slots.read(100)).toBe(1);
  slots.write(100, 2);
  board.set("a", false);
  expect(slots.read(100)).toBe(0);
  clock.pass(3 * VOUCHED_MS);
  expect(slots.read(100)).toBe(0);
});
