import { expect, test } from "bun:test";
import { GOSSIP_KEYS_MAX } from "../api/gossip.ts";
import { parseGossipView } from "./gossip-view.ts";

const key = Buffer.alloc(32, 7).toString("base64");
const member = { name: "vm-1", address: "10.0.0.1", port: 15946 };

test("keys and members are taken, and nothing else of the message", () => {
  const view = {
    keys: [key],
    members: [
      { ...member, isAdmin: true },
      { ...member, address: "fd00::1" },
    ],
  };
  expect(parseGossipView(view)).toEqual({
    ok: true,
    value: { keys: [key], members: [member, { ...member, address: "fd00::1" }] },
  });
});

test("whatever is not exactly that is refused", () => {
  const bad: unknown[] = [
    undefined,
    {},
    { keys: [key] },
    { keys: ["short"], members: [] },
    { keys: [1], members: [] },
    { keys: Array(GOSSIP_KEYS_MAX + 1).fill(key), members: [] },
    { keys: [key], members: [{ ...member, address: "vm-1.example" }] },
    { keys: [key], members: [{ ...member, port: 0 }] },
    { keys: [key], members: [{ ...member, port: "15946" }] },
    { keys: [key], members: [{ ...member, name: "x".repeat(129) }] },
    { keys: [key], members: [null] },
    { keys: [key], members: Array(10_001).fill(member) },
  ];
  for (const view of bad) expect(parseGossipView(view).ok).toBe(false);
});
