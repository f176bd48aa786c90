// Faults at the socket seam with two agents in the way, at every step that a stream of either takes: the client's, the app's, and whatever
// is between the agents. faults.test.ts has the same of one agent.
import { describe, expect, test } from "bun:test";
import { countLent } from "../../test/support/buffers-lent.ts";
import { SCENARIOS, type Scenario } from "../../test/support/exchange-scenarios.ts";
import type { Fault, MemoryStream, Step } from "../../test/support/memory-stream.ts";
import { Hop, type Wire } from "../../test/support/one-hop.ts";

const FAULTS: readonly Fault[] = [
  { is: "takes", bytes: 1 },
  { is: "takes", bytes: 0 },
  { is: "peer_resets" },
  { is: "peer_ends" },
  { is: "peer_falls_silent" },
];
const QUICK = {
  headerTimeoutMs: 1_000,
  bodyTimeoutMs: 1_000,
  streamIdleTimeoutMs: 2_000,
  tcpIdleTimeoutMs: 2_000,
  idleTimeoutMs: 60_000,
};
/** Sooner than any deadline, later than a back-off. */
const AT_ONCE_MS = 600;
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
  readonly steps: readonly Step[];
  readonly hop: Hop;
  /** Requests, once there was time for all but deadlines. */
  readonly underWay: number;
  readonly open: () => number;
  readonly lent: () => number;
}

/** Runs it with the fault at that step; -1: nowhere. */
function run(scenario: Scenario, wire: Wire, at: number, fault: Fault | undefined): Run {
  const protocol = Object.values(OPAQUE).includes(scenario) ? "tcp" : "http";
  const hop = new Hop(scenario.answer(), { way: "mesh", wire, protocol, config: QUICK });
  const steps: Step[] = [];
  const streams = new Set<MemoryStream>();
  hop.mesh.fabric.faultAt = (stream, step) => {
    streams.add(stream);
    return steps.push(step) - 1 === at ? fault : undefined;
  };
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
    open: () => [...streams].filter((stream) => stream.isOpen).length,
    lent: () => lent.reduce((sum, count) => sum + count(), 0),
  };
}

function checkFailed(scenario: Scenario, wire: Wire, well: Run, at: number, fault: Fault): void {
  const failed = run(scenario, wire, at, fault);
  const { hop } = failed;
  const where = { at, step: well.steps[at], fault };
  const counted = [11, 12, 13, 100].map((slot) => hop.mesh.client.slots.read(slot));
  expect({ ...where, counted, lent: failed.lent() }).toEqual({
    ...where,
    counted: [0, 0, 0, 0],
    lent: 0,
  });
  // What the kernel tells of is not left to a deadline; of a tunnel one direction may end and the other go on.
  const isTold = fault.is === "peer_resets" || fault.is === "peer_ends";
  const underWay = isTold && scenario.isTunnel !== true ? 0 : failed.underWay;
  expect({ ...where, underWay: failed.underWay }).toEqual({ ...where, underWay });
  // A short write or a full socket is no failure.
  const text = fault.is === "takes" ? well.hop.client.text : hop.client.text;
  expect({ ...where, text: hop.client.text }).toEqual({ ...where, text });
  hop.pass(120_000); // connections between agents are kept for a while
  hop.expectNothingLeft();
  // Below a connection between agents the kernel sees that its peer is silent (os/peer-watch.ts), and there is none here.
  const open = fault.is === "peer_falls_silent" ? failed.open() : 0;
  expect({ ...where, open: failed.open() }).toEqual({ ...where, open });
}

describe.each(WIRES)("over: %s", (wire) => {
  const plain = Object.entries(SCENARIOS).filter(([, { prepare }]) => prepare === undefined);
  test.each([...plain, ...Object.entries(OPAQUE)])("%s", (_name, scenario) => {
    const well = run(scenario, wire, -1, undefined);
    expect(well.hop.client.text).toEndWith(scenario.ends);
    expect(well.steps.length).toBeGreaterThan(5);
    FAULTS.forEach((fault, nth) => {
      for (let at = nth % STRIDE; at < well.steps.length; at += STRIDE)
        if (fault.is !== "takes" || well.steps[at] === "write")
          checkFailed(scenario, wire, well, at, fault);
    });
  });
});
