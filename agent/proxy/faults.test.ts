// Faults at the socket seam, at every step of every kind of exchange: each scenario is run once to count the steps that the agent's
// streams take (opened, written, data, end, writable), then once more for each step and each fault: a write of which one byte or
// nothing is taken, a reset, an early end, a peer that falls silent. Whatever happens, the exchange comes to an end within the agent's
// deadlines, and nothing stays open, lent or counted.
import { describe, expect, test } from "bun:test";
import { countLent } from "../../test/support/buffers-lent.ts";
import { SCENARIOS, type Scenario } from "../../test/support/exchange-scenarios.ts";
import { AT_ONCE_MS, FAULTS, fits, isTold, QUICK, Steps } from "../../test/support/faults.ts";
import type { Fault, Step } from "../../test/support/memory-stream.ts";
import { Hop, type HopOptions, WAYS } from "../../test/support/one-hop.ts";
import type { Exchange } from "./exchange.ts";
import type { ThreadContext } from "./thread-context.ts";

const DEADLINES = { ...QUICK, idleTimeoutMs: 60_000 };
/** Between two things the client says nothing may happen: then it happens to its connection, or to the app's. */
type Place = Step | "client waits" | "app waits";

interface Run {
  readonly steps: Steps<Place>;
  readonly hop: Hop;
  /** Requests, once there was time for all but deadlines. */
  readonly underWay: number;
  readonly lent: () => number;
}

/** Runs it with the fault at that step; -1: nowhere. */
function run(scenario: Scenario, options: HopOptions, at: number, fault: Fault | undefined): Run {
  const hop = new Hop(scenario.answer(), { ...options, config: DEADLINES });
  scenario.prepare?.(hop);
  const steps = new Steps<Place>(at, fault);
  const { context } = hop.mesh[options.way === "inbound" ? "server" : "client"].plane;
  const stateNow = watchStates(context);
  const reach = (place: Place): Fault | undefined => {
    if (steps.places.length === at) failedIn.add(stateNow());
    return steps.reach(place);
  };
  steps.watch(hop.mesh.fabric, reach);
  const lent = [hop.mesh.client, hop.mesh.server].map((host) =>
    countLent(host.plane.context.buffers),
  );
  for (const part of scenario.says) {
    if (typeof part === "string") hop.say(part);
    else part(hop);
    const [client, app] = steps.streams;
    for (const [place, stream] of [
      ["client waits", client],
      ["app waits", app],
    ] as const) {
      const happens = reach(place);
      if (happens !== undefined) stream?.suffer(happens);
    }
  }
  hop.pass(AT_ONCE_MS);
  const underWay = hop.mesh.client.slots.read(12);
  // Past all deadlines but that of an idle connection.
  hop.pass(12_000);
  return {
    steps,
    hop,
    underWay,
    lent: () => lent.reduce((sum, count) => sum + count(), 0),
  };
}

/** In which states of an exchange something was made to fail: request's body and answer. */
const failedIn = new Set<string>();

function watchStates(context: ThreadContext): () => string {
  let exchange: Exchange | undefined;
  const borrow = context.borrowExchange.bind(context);
  context.borrowExchange = (connection) => {
    exchange = borrow(connection);
    return exchange;
  };
  const giveBack = context.giveBack.bind(context);
  context.giveBack = (given) => {
    exchange = undefined;
    giveBack(given);
  };
  return () => {
    if (exchange === undefined) return "idle";
    if (exchange.response.isComplete) return "answered, and not all of it taken";
    if (exchange.state === "over") return "a head is coming";
    return `${exchange.state}, the request ${exchange.requestBody.isDone ? "whole" : "coming"}`;
  };
}

function checkFailed(
  scenario: Scenario,
  well: Run,
  options: HopOptions,
  at: number,
  fault: Fault,
): void {
  const failed = run(scenario, options, at, fault);
  const { hop } = failed;
  const where = { at, step: well.steps.places[at], fault };
  // No request is under way any more, though nobody hung up: neither counted, nor holding a buffer, nor waiting for a turn.
  const counted = [11, 12, 13, 100].map((slot) => hop.mesh.client.slots.read(slot));
  expect({ ...where, counted, lent: failed.lent() }).toEqual({
    ...where,
    counted: [0, 0, 0, 0],
    lent: 0,
  });
  // What the kernel tells of is not left to a deadline; of a tunnel one direction may end and the other go on.
  const underWay = isTold(fault) && !scenario.isTunnel ? 0 : failed.underWay;
  expect({ ...where, underWay: failed.underWay }).toEqual({ ...where, underWay });
  // Whom the agent has hung up on it does not keep.
  const { plane } = hop.mesh[options.way === "inbound" ? "server" : "client"];
  const connections = hop.isOver ? 0 : plane.openConnections;
  expect({ ...where, connections: plane.openConnections }).toEqual({ ...where, connections });
  // A short write or a full socket is no failure.
  const text = fault.is === "takes" ? well.hop.client.text : hop.client.text;
  expect({ ...where, text: hop.client.text }).toEqual({ ...where, text });
  hop.expectNothingLeft();
  expect({ ...where, open: failed.steps.open }).toEqual({ ...where, open: 0 });
}

describe.each(Object.entries(SCENARIOS))("%s", (_name, scenario) => {
  const ways = scenario.prepare === undefined ? WAYS : (["outbound"] as const);

  test.each(ways)(
    "%s: ends within its deadlines and leaves nothing, whatever fails at whichever step",
    (way) => {
      const well = run(scenario, { way }, -1, undefined);
      expect(well.hop.client.text).toEndWith(scenario.ends);
      expect(well.steps.places.length).toBeGreaterThan(5);
      well.steps.places.forEach((step, at) => {
        for (const fault of FAULTS) {
          if (fits(fault, step)) checkFailed(scenario, well, { way }, at, fault);
        }
      });
    },
  );
});

test("all states of an exchange were failed in", () => {
  expect([...failedIn].sort()).toEqual([
    "a head is coming",
    "answered, and not all of it taken",
    "delayed, the request coming",
    "delayed, the request whole",
    "idle",
    "responding, the request coming",
    "responding, the request whole",
    "trying, the request coming",
    "trying, the request whole",
  ]);
});
