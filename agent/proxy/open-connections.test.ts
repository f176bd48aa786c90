import { estimateShallowMemoryUsageOf } from "bun:jsc";
import { expect, test } from "bun:test";
import { answering, app, ask, ok } from "../../test/support/http-conversation.ts";
import { MeshFixture } from "../../test/support/mesh-fixture.ts";
import { VirtualClock } from "../../test/support/virtual-clock.ts";
import { Deadline, TimerWheel } from "../base/timer-wheel.ts";
import { type OpenConnection, OpenConnections } from "./open-connections.ts";

const IDLE_MS = 10_000;

class Quiet implements OpenConnection {
  openAt = -1;
  endedMs: number | undefined;
  activeMs = 0;
  readonly open: OpenConnections;
  constructor(open: OpenConnections) {
    this.open = open;
    open.add(this);
  }
  drain(): void {}
  cut(): void {}
  reconsider(): void {}
  endIdle(nowMs: number): number {
    const dueMs = this.activeMs + IDLE_MS;
    if (dueMs > nowMs) return dueMs;
    this.endedMs = nowMs;
    this.open.delete(this);
    return Number.POSITIVE_INFINITY;
  }
}

function opening(): { clock: VirtualClock; open: OpenConnections } {
  const clock = new VirtualClock();
  const wheel = new TimerWheel(() => clock.nowMs());
  clock.drive(wheel);
  const deadline = (run: () => void): Deadline => new Deadline(wheel, { onDue: run });
  return {
    clock,
    open: new OpenConnections({ idleTimeoutMs: IDLE_MS }, { now: () => clock.nowMs(), deadline }),
  };
}

test("each idle connection ends after its own time, at most a 256th of it late", () => {
  const { clock, open } = opening();
  const quiet: Quiet[] = [];
  for (let i = 0; i < 500; i++) {
    const one = new Quiet(open);
    one.activeMs = clock.nowMs();
    quiet.push(one);
    clock.pass(37);
  }
  clock.pass(2 * IDLE_MS);
  for (const one of quiet) {
    const lateMs = (one.endedMs ?? Number.POSITIVE_INFINITY) - one.activeMs - IDLE_MS;
    expect(lateMs).toBeGreaterThanOrEqual(0);
    expect(lateMs).toBeLessThanOrEqual(IDLE_MS / 256 + 32); // two ticks of the wheel
  }
  expect(open.size).toBe(0);
});

test("a connection that came after all had ended is looked at again", () => {
  const { clock, open } = opening();
  new Quiet(open).activeMs = clock.nowMs();
  clock.pass(3 * IDLE_MS);
  const late = new Quiet(open);
  late.activeMs = clock.nowMs();
  clock.pass(IDLE_MS + 100);
  expect(late.endedMs).toBeDefined();
});

test("an idle HTTP connection is one small object, without a deadline of its own", () => {
  const mesh = new MeshFixture();
  app(
    mesh,
    answering(() => ok()),
  );
  for (let i = 0; i < 5; i++) expect(ask(mesh)).toBe(ok());
  const open = mesh.client.plane.context.open.all();
  expect(open).toHaveLength(5);
  for (const connection of open) {
    expect(estimateShallowMemoryUsageOf(connection)).toBeLessThanOrEqual(112);
    expect(Object.values(connection)).toEqual([mesh.client.plane.context, connection.openAt]);
  }
});
