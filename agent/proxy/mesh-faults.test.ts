// Faults at the socket seam with two agents in the way, at every step that a stream of either takes: the client's, the app's, and whatever
// is between the agents. faults.test.ts has the same of one agent.
import { describe, expect, test } from "bun:test";
import { countLent } from "../../test/support/buffers-lent.ts";
import { SCENARIOS, type Scenario } from "../../test/support/exchange-scenarios.ts";
import { AT_ONCE_MS, FAULTS, fits, isTold, QUICK, Steps } from "../../test/support/faults.ts";
import type { Fault } from "../../test/support/memory-stream.ts";
import { Hop, type Wire } from "../../test/support/one-hop.ts";

const DEADLINES = { ...QUICK, idleTimeoutMs: 60_000 };
const WIRES: readonly Wire[] = ["own connection", "shared connection", "HBONE"];
const isFull = process.env["IRONMESH_TIER"] === "full";
/** In the fast tier every so-manieth step is failed, another first one for each fault. */
const STRIDE = isFull ? 1 : 3;

/** Opaque connections, which the exchanges of exchange-scenarios.ts are not. */
const LARGE = "x".repeat(150_000);
const OPAQUE: Readonly<Record<string, Scenario>> = {
  "bytes there and back": {
    says: ["ping", "ping"],
    answer: () => (app) => app.take().replaceAll("ping", "pong"),
    ends: "pongpong",
    isTunnel: true,
  },
  "half-close, and an answer behind it": {
    says: ["all of it", (hop) => void hop.client.end(), (hop) => void hop.pass()],
    answer: () => (app) => {
      app.onEnd = () => {
        app.send(`got ${app.text}`);
        app.end();
      };
      return undefined;
    },
    ends: "got all of it",
    isTunnel: true,
  },
  "more than every buffer, both ways": {
    says: [LARGE],
    answer: () => (app) => app.take(),
    ends: LARGE,
    isTunnel: true,
  },
};

interface Run {
  readonly steps: Steps;
  readonly hop: Hop;
  /** Requests, once there was time for all but deadlines. */
  readonly underWay: number;
  readonly lent: () => number;
}

/** Runs it with the fault at that step; -1: nowhere. */
function run(scenario: Scenario, wire: Wire, at: number, fault: Fault | undefined): Run {
  const protocol = Object.values(OPAQUE).includes(scenario) ? "tcp" : "http";
  const hop = new Hop(scenario.answer(), { way: "mesh", wire, protocol, config: DEADLINES });
  const steps = new Steps(at, fault);
  steps.watch(hop.mesh.fabric, (step) => steps.reach(step));
  const lent = [hop.mesh.client, hop.mesh.server].map((host) =>
    countLent(host.plane.context.buffers),
  );
  for (const part of scenario.says) {
    if (typeof part === "string") hop.say(part);
    else part(hop);
  }
  hop.pass(AT_ONCE_MS);
  const underWay = hop.mesh.client.slots.read(12);
  hop.pass(12_000); // past all deadlines but that of an idle connection
  return {
    steps,
    hop,
    underWay,
    lent: () => lent.reduce((sum, count) => sum + count(), 0),
  };
}

function checkFailed(scenario: Scenario, wire: Wire, well: Run, at: number, fault: Fault): void {
  const failed = run(scenario, wire, at, fault);
  const { hop } = failed;
  const where = { at, step: well.steps.places[at], fault };
  const counted = [11, 12, 13, 100].map((slot) => hop.mesh.client.slots.read(slot));
  expect({ ...where, counted, lent: failed.lent() }).toEqual({
    ...where,
    counted: [0, 0, 0, 0],
    lent: 0,
  });
  // What the kernel tells of is not left to a deadline; of a tunnel one direction may end and the other go on.
  const underWay = isTold(fault) && scenario.isTunnel !== true ? 0 : failed.underWay;
  expect({ ...where, underWay: failed.underWay }).toEqual({ ...where, underWay });
  // A short write or a full socket is no failure.
  const text = fault.is === "takes" ? well.hop.client.text : hop.client.text;
  expect({ ...where, text: hop.client.text }).toEqual({ ...where, text });
  hop.pass(120_000); // connections between agents are kept for a while
  hop.expectNothingLeft();
  // Below a connection between agents the kernel sees that its peer is silent (os/peer-watch.ts), and there is none here.
  const open = fault.is === "peer_falls_silent" ? failed.steps.open : 0;
  expect({ ...where, open: failed.steps.open }).toEqual({ ...where, open });
}

describe.each(WIRES)("over: %s", (wire) => {
  const plain = Object.entries(SCENARIOS).filter(([, { prepare }]) => prepare === undefined);
  test.each([...plain, ...Object.entries(OPAQUE)])("%s", (_name, scenario) => {
    const well = run(scenario, wire, -1, undefined);
    expect(well.hop.client.text).toEndWith(scenario.ends);
    expect(well.steps.places.length).toBeGreaterThan(5);
    FAULTS.forEach((fault, nth) => {
      for (let at = nth % STRIDE; at < well.steps.places.length; at += STRIDE)
        if (fits(fault, well.steps.places[at] ?? "")) checkFailed(scenario, wire, well, at, fault);
    });
  });
});
