import { expect, test } from "bun:test";
import { SeededRandom } from "../base/clock.ts";
import { HEALTH_TURN_SLOT, HOSTS_DOWN_SLOT, SharedSlots } from "../base/slots.ts";
import type { Endpoint } from "../policy/snapshot.ts";
import { Balancer } from "./balancer.ts";
import { vouchFor } from "./host-health.ts";

const FIRST = 64;
const healthOf = (i: number): number => FIRST + i * 8 + 7;
const endpoint = (i: number, host: string | undefined = `vm-${i}`): Endpoint => ({
  id: `10.0.0.${i}:80`,
  address: `10.0.0.${i}`,
  port: 80,
  weight: 1,
  mesh: undefined,
  workload: "w",
  namespace: "default",
  labels: {},
  host,
  slots: {
    active: FIRST + i * 8,
    consecutive5xx: FIRST + i * 8 + 1,
    consecutiveGatewayErrors: FIRST + i * 8 + 2,
    ejectedUntilMs: FIRST + i * 8 + 3,
    ejections: FIRST + i * 8 + 4,
    hostHealth: host === undefined ? undefined : healthOf(i),
  },
});

class Fixture {
  readonly slots = new SharedSlots(new ArrayBuffer(4096));
  readonly endpoints = [endpoint(0), endpoint(1), endpoint(2)];
  readonly balancer = new Balancer(
    { balancer: "round_robin", endpoints: this.endpoints, outlier: undefined },
    { slots: this.slots, random: new SeededRandom(1) },
  );

  /** As the gossip session does. */
  lower(i: number, isDown = true): void {
    this.slots.write(healthOf(i), isDown ? 1 : 0);
    this.slots.add(HOSTS_DOWN_SLOT, isDown ? 1 : -1);
    this.slots.add(HEALTH_TURN_SLOT, 1);
  }

  get picked(): number[] {
    return [...new Set(Array.from({ length: 30 }, () => this.balancer.pick(0)))].sort();
  }
}

test("an endpoint whose host is down is picked no more, and again when it is back", () => {
  const fixture = new Fixture();
  expect(fixture.picked).toEqual([0, 1, 2]);
  fixture.lower(1);
  expect(fixture.picked).toEqual([0, 2]);
  expect(fixture.balancer.pick(0, [0])).toBe(2);
  fixture.lower(1, false);
  expect(fixture.picked).toEqual([0, 1, 2]);
});

test("a balancer that is made while a host is down leaves it out from the first pick", () => {
  const { slots, endpoints } = new Fixture();
  slots.write(healthOf(0), 1);
  const random = new SeededRandom(1);
  const balancer = new Balancer(
    { balancer: "random", endpoints, outlier: undefined },
    { slots, random },
  );
  for (let i = 0; i < 30; i++) expect(balancer.pick(0)).not.toBe(0);
});

test("where every host is down all are tried", () => {
  const fixture = new Fixture();
  for (const i of [0, 1, 2]) fixture.lower(i);
  expect(fixture.picked).toEqual([0, 1, 2]);
});

test("an endpoint of no member is nobody's to lower", () => {
  const { slots } = new Fixture();
  const endpoints = [
    endpoint(0),
    { ...endpoint(1), slots: { ...endpoint(1).slots, hostHealth: undefined } },
  ];
  slots.write(healthOf(1), 1);
  const random = new SeededRandom(1);
  const balancer = new Balancer(
    { balancer: "random", endpoints, outlier: undefined },
    { slots, random },
  );
  expect(new Set(Array.from({ length: 30 }, () => balancer.pick(0)))).toEqual(new Set([0, 1]));
});

test("a success of ours outweighs what gossip says, on every thread", () => {
  const fixture = new Fixture();
  fixture.lower(1);
  vouchFor(fixture.slots, fixture.endpoints[1] as Endpoint);
  expect(fixture.picked).toEqual([0, 1, 2]);
  vouchFor(fixture.slots, fixture.endpoints[0] as Endpoint);
  expect(fixture.slots.read(healthOf(0))).toBe(0);
});
