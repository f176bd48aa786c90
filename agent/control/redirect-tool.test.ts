import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { hostRunner } from "../os/redirect/runner.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import type { RedirectSettings } from "./redirect-keeper.ts";
import { ownerOfDirectory, runRedirect } from "./redirect-tool.ts";

const settings: RedirectSettings = {
  backend: "nft",
  mode: "declared",
  agentUid: 777,
  hostListenerPort: 15001,
  inboundPort: 15006,
  meshPort: 15008,
  dnsPort: 15053,
  resolvers: ["10.0.0.53"],
  hasIpv6: true,
  exclusions: { uids: [], cidrs: [], ports: [] },
  sshPorts: [22],
};
const golden = new URL("../../test/golden/canary/snapshot.json", import.meta.url);
const deps = (snapshot: Snapshot | undefined) => ({
  runner: hostRunner(),
  owners: { uidOf: () => 1234, sliceOf: () => ({ is: "absent" }) as const },
  loadSnapshot: () => Promise.resolve(snapshot),
});

test("the plan is printed from the snapshot on disk, without touching the host", async () => {
  const { snapshot } = JSON.parse(readFileSync(golden, "utf8"));
  const outcome = await runRedirect("plan", settings, deps(snapshot));
  expect(outcome).toMatchObject({ is: "done", text: expect.stringContaining("777") });
});

test("a user that this host does not have is named, and the plan made for all others", async () => {
  const { snapshot } = JSON.parse(readFileSync(golden, "utf8"));
  const [first] = (snapshot as Snapshot).workloads;
  const selector = { is: "user", user: "nobody-here" } as const;
  const changed = { ...snapshot, workloads: [{ ...first, selector }] };
  const owners = { uidOf: () => undefined, sliceOf: () => ({ is: "unknown" }) as const };
  const outcome = await runRedirect("plan", settings, { ...deps(changed), owners });
  const text = outcome.is === "done" ? outcome.text : "";
  expect(text).toEndWith(
    `# workload ${first?.namespace}/${first?.name}: this host has no user nobody-here\n`,
  );
  expect(text).toContain("everybody else is the host");
});

test("a host that never had a configuration is told to get one", async () => {
  const outcome = await runRedirect("apply", settings, deps(undefined));
  expect(outcome).toMatchObject({
    is: "failed",
    reason: expect.stringContaining("start the agent once"),
  });
});

test("an agent that would run as root is refused: its traffic could not be told from others'", async () => {
  const { snapshot } = JSON.parse(readFileSync(golden, "utf8"));
  const outcome = await runRedirect("plan", { ...settings, agentUid: 0 }, deps(snapshot));
  expect(outcome).toMatchObject({ is: "failed", reason: expect.stringContaining("agentUid") });
});

test("the agent is who owns its state", () => {
  expect(ownerOfDirectory(import.meta.dir)).toBeNumber();
  expect(ownerOfDirectory(`${import.meta.dir}/nonexistent`)).toBeUndefined();
});
