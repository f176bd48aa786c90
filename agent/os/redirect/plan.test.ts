import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describePlan } from "./apply.ts";
import { type RedirectInput, refuseResolvers } from "./input.ts";
import { planRedirect } from "./plan.ts";
import { rangesOf } from "./plan-parts.ts";
import { readSlice, slicePath } from "./slice.ts";

const INPUT: RedirectInput = {
  backend: "iptables",
  agentUid: 4_242,
  mode: "declared",
  workloads: [
    {
      name: "default/reviews",
      outboundPort: 15_101,
      owner: { is: "uid", uid: 1_234 },
      appPorts: [9_080, 9_081],
    },
    {
      name: "default/ratings",
      outboundPort: 15_102,
      owner: { is: "gid", gid: 1_300 },
      appPorts: [8_000],
    },
    {
      name: "default/batch",
      outboundPort: 15_103,
      owner: { is: "slice", slice: "mesh-batch.slice" },
      appPorts: [],
    },
  ],
  hostListenerPort: 15_001,
  inboundPort: 15_006,
  meshPort: 15_008,
  dnsPort: 15_053,
  listenerRange: [15_101, 15_199],
  resolvers: ["10.0.0.53", "fd00::53"],
  vip4: "240.240.0.0/16",
  vip6: "2001:2::/48",
  endpoints: [
    ["10.1.1.1", 9_080],
    ["fd01::1", 9_080],
  ],
  hasIpv6: true,
  exclusions: { uids: [], cidrs: [], ports: [] },
  sshPorts: [22],
};
const ALL: Partial<RedirectInput> = {
  mode: "all",
  exclusions: { uids: [7], cidrs: ["192.168.0.0/16", "fe80::/10"], ports: [2_222, 2_223] },
};

const textOf = (changes: Partial<RedirectInput>): string => {
  const plan = planRedirect({ ...INPUT, ...changes });
  if (!plan.ok) throw new Error(JSON.stringify(plan.error));
  return describePlan(plan.value);
};
const refusals = (changes: Partial<RedirectInput>): string => {
  const plan = planRedirect({ ...INPUT, ...changes });
  return plan.ok ? "" : plan.error.map(({ path, reason }) => `${path}: ${reason}`).join("\n");
};

describe("the plan's text is the golden one", () => {
  const golden: [string, Partial<RedirectInput>][] = [
    ["iptables-declared", {}],
    ["iptables-all", ALL],
    ["nft-declared", { backend: "nft" }],
    ["nft-all", { backend: "nft", ...ALL }],
    ["iptables-ipv4-no-dns", { hasIpv6: false, resolvers: [] }],
  ];
  for (const [name, changes] of golden) {
    test(name, async () => {
      const file = Bun.file(new URL(`../../../test/golden/redirect/${name}.txt`, import.meta.url));
      if (process.env["UPDATE_GOLDEN"] === "1") await Bun.write(file, textOf(changes));
      expect(textOf(changes)).toBe(await file.text());
    });
  }
});

test("the same input gives the same plan, in whatever order workloads and ports come", () => {
  const reversed = INPUT.workloads
    .toReversed()
    .map((workload) => ({ ...workload, appPorts: workload.appPorts.toReversed() }));
  expect(textOf({ workloads: reversed })).toBe(textOf({}));
});

test("more ports than a multiport match takes are split over rules", () => {
  const appPorts = Array.from({ length: 40 }, (_, i) => 9_000 + 2 * i);
  const workloads = [
    {
      name: "default/many",
      outboundPort: 15_101,
      owner: { is: "uid", uid: 1_234 } as const,
      appPorts,
    },
  ];
  const lines = textOf({ workloads })
    .split("\n")
    .filter((line) => line.includes("workloads of this host"));
  for (const line of lines)
    expect((/dports (\S+)/.exec(line)?.[1] ?? "").split(",").length).toBeLessThanOrEqual(15);
  const named = lines.flatMap((line) => (/dports (\S+)/.exec(line)?.[1] ?? "").split(","));
  expect(new Set(named)).toEqual(new Set(appPorts.map(String)));
});

test("ports become sorted ranges", () => {
  expect(rangesOf([3, 1, 2, 9, 3])).toEqual([
    [1, 3],
    [9, 9],
  ]);
});

test("a slice's path follows systemd's nesting", () => {
  const path = "mesh.slice/mesh-batch.slice/mesh-batch-night.slice";
  expect(slicePath("mesh-batch-night.slice")).toBe(path);
});

const workloads = (owner: RedirectInput["workloads"][number]["owner"]): Partial<RedirectInput> => ({
  workloads: INPUT.workloads.map((one) =>
    one.name === "default/reviews" ? { ...one, owner } : one,
  ),
});

test("a workload whose owner is not on this host is nobody, and what comes to its ports is redirected all the same", () => {
  for (const backend of ["iptables", "nft"] as const) {
    const text = textOf({ backend, ...workloads(undefined) });
    expect(text).not.toContain("default/reviews");
    expect(text).not.toContain("15101 "); // its listener's; the range of all of them stays
    expect(text).toContain(backend === "nft" ? "9080-9081" : "9080:9081");
    expect(text).toContain("default/ratings is gid 1300");
  }
  expect(refusals(workloads(undefined))).toBe("");
});

test("a slice that was made anew makes another rule, though its text is the same", () => {
  const [first, again, other] = [7, 7, 8].map((cgroup) =>
    textOf(workloads({ is: "slice", slice: "a.slice", cgroup })),
  );
  const bare = (text = ""): string => text.replaceAll(/ironmesh:[0-9a-f]{8}/g, "");
  expect(first).toBe(again as string);
  expect(first).not.toBe(other as string);
  expect(bare(first)).toBe(bare(other));
});

test("a slice is there, or not, by its directory; where no cgroups can be seen nothing is said", () => {
  const root = mkdtempSync(join(tmpdir(), "ironmesh-slice-"));
  expect(readSlice("a-b.slice", root)).toEqual({ is: "absent" });
  mkdirSync(join(root, "a.slice/a-b.slice"), { recursive: true });
  expect(readSlice("a-b.slice", root)).toEqual({ is: "here", cgroup: expect.any(Number) });
  rmSync(root, { recursive: true });
});

test("resolvers that cannot be captured are known before a socket is opened", () => {
  expect(refuseResolvers(["10.0.0.53", "127.0.0.53"])).toContain("systemd-resolved");
  expect(refuseResolvers(["10.0.0.53", "fd00::53"])).toBeUndefined();
});

describe("what cannot be done is refused by name", () => {
  const workload = (changes: object) => ({
    workloads: [
      {
        name: "default/w",
        outboundPort: 15_101,
        owner: { is: "uid", uid: 1_234 } as const,
        appPorts: [80],
        ...changes,
      },
    ],
  });
  const cases: [string, Partial<RedirectInput>, string][] = [
    ["an agent that is root", { agentUid: 0 }, "run it as a user of its own"],
    ["systemd-resolved", { resolvers: ["127.0.0.53"] }, "--no-dns"],
    ["a resolver on this host", { resolvers: ["::1"] }, "--no-dns"],
    ["a link-local resolver", { resolvers: ["fe80::1%eth0"] }, "zone"],
    [
      "a workload with the agent's uid",
      workload({ owner: { is: "uid", uid: 4_242 } }),
      "never redirected",
    ],
    [
      "two workloads of one user",
      {
        workloads: [
          ...INPUT.workloads,
          {
            name: "default/twin",
            outboundPort: 15_110,
            owner: { is: "uid", uid: 1_234 },
            appPorts: [],
          },
        ],
      },
      "default/twin and default/reviews",
    ],
    [
      "a listener port of two workloads",
      {
        workloads: [
          ...INPUT.workloads,
          {
            name: "default/twin",
            outboundPort: 15_101,
            owner: { is: "uid", uid: 9 },
            appPorts: [],
          },
        ],
      },
      "port of its own",
    ],
    ["an app on an agent port", workload({ appPorts: [15_008] }), "agent's own ports"],
    ["an app on the SSH session's port", workload({ appPorts: [22] }), "SSH session"],
    ["a slice that is none", workload({ owner: { is: "slice", slice: "../x" } }), "no slice"],
    ["text in a name that would end a comment", workload({ name: 'x" -j ACCEPT' }), "name"],
    ["an endpoint that is no address", { endpoints: [["10.0.0.1 }", 80]] }, "no endpoint"],
    [
      "a range that is none",
      { ...ALL, exclusions: { uids: [], cidrs: ["10.0.0.0/33"], ports: [] } },
      "no address range",
    ],
    [
      "exclusions in mode declared",
      { exclusions: { uids: [1], cidrs: [], ports: [] } },
      "mode `all` only",
    ],
  ];
  for (const [name, changes, reason] of cases) {
    test(name, () => expect(refusals(changes)).toContain(reason));
  }
});
