import { expect, test } from "bun:test";
import { isIP } from "node:net";
import {
  allot,
  REUSE_AFTER_MS,
  type Reservation,
  VIRTUAL_ADDRESSES_MAX,
  vip4Of,
  vip6Of,
} from "./virtual-addresses.ts";

const indices = (before: readonly Reservation[], services: string[], nowMs = 0) => {
  const allotment = allot(before, services, nowMs);
  return allotment.ok ? Object.fromEntries(allotment.value.indexOf) : allotment.error;
};

test("a service keeps its address while others come and go", () => {
  expect(indices([], ["b", "a"])).toEqual({ a: 1, b: 2 });
  expect(indices([{ service: "b", index: 2 }], ["a", "b", "c"])).toEqual({ b: 2, a: 3, c: 4 });
});

test("a service that went is marked with the time and gets the same address when it comes back", () => {
  const gone = allot([{ service: "a", index: 1 }], [], 5000);
  expect(gone.ok && gone.value.changed).toEqual([{ service: "a", index: 1, freedAtMs: 5000 }]);
  const back = allot([{ service: "a", index: 1, freedAtMs: 5000 }], ["a"], 6000);
  expect(back.ok && back.value.changed).toEqual([{ service: "a", index: 1 }]);
});

test("an address is given to another service only after a day, even when all are taken", () => {
  const full: Reservation[] = Array.from({ length: VIRTUAL_ADDRESSES_MAX }, (_, i) => ({
    service: `s${i}`,
    index: i + 1,
  }));
  full[6] = { service: "gone", index: 7, freedAtMs: 1000 };
  const others = full.filter((r) => r.service !== "gone").map((r) => r.service);
  expect(indices(full, [...others, "new"], REUSE_AFTER_MS)).toBe("exhausted");
  const later = allot(full, [...others, "new"], REUSE_AFTER_MS + 1000);
  expect(later.ok && later.value.indexOf.get("new")).toBe(7);
});

test("every index is an address in both ranges", () => {
  for (const index of [1, 255, 256, VIRTUAL_ADDRESSES_MAX]) {
    expect(isIP(vip4Of(index))).toBe(4);
    expect(isIP(vip6Of(index))).toBe(6);
  }
  expect(vip4Of(VIRTUAL_ADDRESSES_MAX)).toBe("240.240.255.254");
});
