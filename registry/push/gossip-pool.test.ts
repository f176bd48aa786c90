import { beforeEach, expect, test } from "bun:test";
import { GOSSIP_PORT, SERVER_GOSSIP_PORT, SPEAKS_GOSSIP } from "../../agent/api/gossip.ts";
import type { ServerMessage } from "../../agent/api/session.ts";
import { SILENT_LOG } from "../../agent/base/log.ts";
import { VirtualClock } from "../../test/support/virtual-clock.ts";
import { COALESCE_MS, Hub } from "./hub.ts";

const host = (name: string, address?: string) => ({
  name,
  addresses: address === undefined ? [] : [address],
});
const peer = (name: string, address: string) => ({ name, address, port: GOSSIP_PORT });

let clock: VirtualClock;
let hub: Hub;
beforeEach(() => {
  clock = new VirtualClock();
  const signer = {
    sign: (payload: string) => Promise.resolve({ payload, signature: "", certificates: [] }),
  };
  hub = new Hub({ signer, clock, timers: clock, log: SILENT_LOG });
  hub.gossip.setKeys(["k1"]);
  hub.gossip.setHosts([host("a", "10.0.0.1"), host("b", "10.0.0.2"), host("c")]);
});

/** What an agent is told of the pool. */
function session(name: string, speaks: readonly string[] | undefined) {
  const told: ServerMessage[] = [];
  const socket = {
    send: (text: string) => {
      told.push(JSON.parse(text) as ServerMessage);
      return Promise.resolve();
    },
    close: () => undefined,
  };
  const who = { host: name, remoteAddress: undefined, localAddress: "10.0.0.9" };
  const hello = { type: "hello", agentVersion: "1", host: name, runs: [], epoch: 0, version: 0 };
  hub.connect(who, socket)?.receive(JSON.stringify({ ...hello, units: [], speaks }));
  return told;
}

test("an agent is told of all hosts but itself and those without an address, and of the server where it reached it", () => {
  hub.gossip.addServer();
  expect(session("a", [SPEAKS_GOSSIP])).toEqual([
    {
      type: "gossip",
      gossip: {
        keys: ["k1"],
        members: [
          peer("b", "10.0.0.2"),
          { name: "_config-server", address: "10.0.0.9", port: SERVER_GOSSIP_PORT },
        ],
      },
    },
  ]);
});

test("who does not speak it is told nothing, and before there are keys nobody is", () => {
  expect(session("a", [])).toEqual([]);
  expect(session("b", undefined)).toEqual([]);
  hub = new Hub({
    signer: { sign: () => Promise.reject(new Error("nothing to sign")) },
    ...{ clock, timers: clock, log: SILENT_LOG },
  });
  expect(session("a", [SPEAKS_GOSSIP])).toEqual([]);
});

test("new keys and new hosts are told soon, several changes as one, and what did not change not at all", () => {
  const told = session("a", [SPEAKS_GOSSIP]);
  clock.pass(COALESCE_MS * 2);
  hub.gossip.setHosts([host("a", "10.0.0.1"), host("b", "10.0.0.3")]);
  clock.pass(COALESCE_MS * 2);
  expect(told.at(-1)).toMatchObject({ gossip: { members: [peer("b", "10.0.0.3")] } });
  const before = told.length;
  hub.gossip.setKeys(["k1", "k2"]);
  hub.gossip.setKeys(["k2", "k1"]);
  clock.pass(COALESCE_MS * 2);
  expect(told.at(-1)).toMatchObject({ gossip: { keys: ["k2", "k1"] } });
  const after = told.length;
  expect(after - before).toBeLessThanOrEqual(2);
  hub.gossip.setKeys(["k2", "k1"]);
  hub.gossip.setHosts([host("a", "10.0.0.1"), host("b", "10.0.0.3")]);
  clock.pass(COALESCE_MS * 2);
  expect(told.length).toBe(after);
});
