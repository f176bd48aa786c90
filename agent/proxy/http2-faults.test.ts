// Faults at the socket seam, at every step of exchanges that speak HTTP/2 on one side, as faults.test.ts has them of HTTP/1.1: each scenario
// is run once to count the steps that the agent's streams take, then once more for each step and each fault. Whatever happens, every
// stream comes to an end within the agent's deadlines, and nothing stays open, lent, borrowed or counted.
import { describe, expect, test } from "bun:test";
import { countLent } from "../../test/support/buffers-lent.ts";
import { AT_ONCE_MS, FAULTS, fits, isTold, QUICK, Steps } from "../../test/support/faults.ts";
import type { Http2End } from "../../test/support/http2-end.ts";
import { ClientHop, type HopOptions, ServerHop } from "../../test/support/http2-hop.ts";
import {
  type AnyHop,
  App,
  OF_APPS,
  OF_CLIENTS,
  type Scenario,
  served,
} from "../../test/support/http2-scenarios.ts";
import type { Fault } from "../../test/support/memory-stream.ts";
import type { MeshFixture } from "../../test/support/mesh-fixture.ts";
import type { ThreadContext } from "./thread-context.ts";

const DEADLINES = { ...QUICK, idleTimeoutMs: 5_000 };

const isFull = process.env["IRONMESH_TIER"] === "full";
const WAYS = isFull ? (["outbound", "inbound"] as const) : (["outbound"] as const);

interface Run<H extends AnyHop> {
  readonly steps: Steps;
  readonly hop: H;
  /** Exchanges in use, once there was time for all but deadlines. */
  readonly underWay: number;
  readonly borrowed: () => number;
  readonly lent: () => number;
}

/** Runs it with the fault at that step; -1: nowhere. */
function run<H extends AnyHop>(
  scenario: Scenario<H>,
  make: (options: HopOptions, app: () => Http2End) => H,
  at: number,
  fault: Fault | undefined,
): Run<H> {
  const steps = new Steps(at, fault);
  const counts: (() => number)[] = [];
  const lent: (() => number)[] = [];
  const prepare = (mesh: MeshFixture): void => {
    for (const { plane } of [mesh.client, mesh.server]) {
      counts.push(countBorrowed(plane.context));
      lent.push(countLent(plane.context.buffers));
    }
    steps.watch(mesh.fabric, (step) => steps.reach(step));
  };
  const sum = (all: readonly (() => number)[]): number => all.reduce((n, one) => n + one(), 0);
  let asked = 0;
  const answer = scenario.answer ?? served;
  const app = (): Http2End =>
    new App((end, id) => answer(end, id, asked++), scenario.offersTunnels === true);
  const hop = make({ config: DEADLINES, ...scenario.options, prepare }, app);
  for (const say of scenario.says) {
    say(hop);
    hop.pass(50);
  }
  hop.pass(AT_ONCE_MS);
  const underWay = sum(counts);
  hop.pass(14_000); // past all deadlines
  return {
    steps,
    hop,
    underWay,
    borrowed: () => sum(counts),
    lent: () => sum(lent),
  };
}

/** Exchanges that were borrowed and not given back. */
function countBorrowed(context: ThreadContext): () => number {
  let borrowed = 0;
  const borrow = context.borrowExchange.bind(context);
  const giveBack = context.giveBack.bind(context);
  context.borrowExchange = (connection) => {
    borrowed++;
    return borrow(connection);
  };
  context.giveBack = (exchange) => {
    borrowed--;
    giveBack(exchange);
  };
  return () => borrowed;
}

/** What the client got, however it was cut. */
function outcome(hop: AnyHop): unknown {
  if (hop instanceof ClientHop) return hop.client.text;
  const streams = new Map<string, string>();
  for (const line of hop.client.seen) {
    const [, kind = "", id = "", rest = ""] = /^(\S+) ?(\d*) ?(.*)$/s.exec(line) ?? [];
    if (kind === "SETTINGS" || kind === "PONG") continue;
    const text = kind === "DATA" ? rest : `${kind} ${rest}`;
    streams.set(id, (streams.get(id) ?? "") + text);
  }
  return [...streams];
}

function checkAll<H extends AnyHop>(
  scenario: Scenario<H>,
  make: (options: HopOptions, app: () => Http2End) => H,
): void {
  const well = run(scenario, make, -1, undefined);
  expect(well.steps.places.length).toBeGreaterThan(5);
  const wanted = outcome(well.hop);
  expect(JSON.stringify(wanted)).toContain(scenario.ends ?? "2ok END");
  well.steps.places.forEach((step, at) => {
    for (const fault of FAULTS) {
      if (!fits(fault, step)) continue;
      const failed = run(scenario, make, at, fault);
      const { hop } = failed;
      const where = { at, step, fault };
      expect({ ...where, borrowed: failed.borrowed(), lent: failed.lent() }).toEqual({
        ...where,
        borrowed: 0,
        lent: 0,
      });
      // What the kernel tells of is not left to a deadline.
      const underWay = isTold(fault) ? 0 : failed.underWay;
      expect({ ...where, underWay: failed.underWay }).toEqual({ ...where, underWay });
      // A short write or a full socket is no failure.
      const got = outcome(hop);
      expect({ ...where, got }).toEqual({
        ...where,
        got: fault.is === "takes" && scenario.isCut !== true ? wanted : got,
      });
      hop.expectNothingLeft();
      expect({ ...where, open: failed.steps.open }).toEqual({ ...where, open: 0 });
    }
  });
}

describe("whatever fails at whichever step: it ends within its deadlines and leaves nothing", () => {
  test.each(Object.keys(OF_CLIENTS))("a client of HTTP/2: %s", (name) => {
    const scenario = OF_CLIENTS[name];
    if (scenario === undefined) throw new Error(name);
    for (const way of WAYS) checkAll(scenario, (options) => new ServerHop({ ...options, way }));
  });

  test.each(Object.keys(OF_APPS))("an app of HTTP/2: %s", (name) => {
    const scenario = OF_APPS[name];
    if (scenario === undefined) throw new Error(name);
    checkAll(scenario, (options, app) => new ClientHop(options, app));
  });
});
