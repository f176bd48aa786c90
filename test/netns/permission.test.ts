// Who may change a redirect: the agent's own user with its capabilities, and nobody without; each refusal names what is missing.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  applyRedirect,
  chooseBackend,
  removeRedirect,
  updateEndpoints,
} from "../../agent/os/redirect/apply.ts";
import { hostRunner, type Runner } from "../../agent/os/redirect/runner.ts";
import { AGENT_UID, canRun, Lab, PEER } from "./lab.ts";
import { BACKENDS, planned } from "./redirect-plan.ts";

describe.skipIf(!canRun("redirect permissions"))("redirect permissions", () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await Lab.up();
  });
  afterAll(() => lab.down());

  const as = (capabilities: string): Runner =>
    hostRunner([
      ...[
        "ip",
        "netns",
        "exec",
        lab.host,
        "setpriv",
        `--reuid=${AGENT_UID}`,
        `--regid=${AGENT_UID}`,
      ],
      ...["--clear-groups", `--inh-caps=${capabilities}`, `--ambient-caps=${capabilities}`],
    ]);
  const without = (...missing: string[]): Runner => ({
    ...lab.runner,
    run: (argv, input) =>
      missing.includes(argv[0] ?? "")
        ? hostRunner().run([`/nonexistent/${argv[0]}`])
        : lab.runner.run(argv, input),
  });

  for (const backend of BACKENDS.filter(({ variant }) => variant !== "legacy")) {
    test(`the agent's user applies, follows endpoints and removes by ${backend.name} with CAP_NET_ADMIN and CAP_NET_RAW`, async () => {
      const agent = as("+net_admin,+net_raw");
      const before = await lab.dump();
      expect((await applyRedirect(planned(backend, { resolvers: [PEER.ip] }), agent)).ok).toBe(
        true,
      );
      const changes = { add: [[PEER.ip, 80]] as const, remove: [] };
      expect((await updateEndpoints(backend.backend, changes, agent)).ok).toBe(true);
      expect((await removeRedirect(agent)).ok).toBe(true);
      expect(await lab.dump()).toBe(before);
    });
  }

  test("without capabilities nothing changes, and the sentence says what to get", async () => {
    const before = await lab.dump();
    for (const backend of BACKENDS) {
      const applied = await applyRedirect(planned(backend), as("-all"));
      expect(applied.ok ? "" : applied.error).toContain(
        "needs root or CAP_NET_ADMIN and CAP_NET_RAW",
      );
    }
    const chosen = await chooseBackend(as("-all"));
    expect(chosen.ok ? "" : chosen.error).toContain("needs root or CAP_NET_ADMIN");
    expect(await lab.dump()).toBe(before);
  });

  test("a host that answers everything by SYN cookies is refused by name", async () => {
    await lab.runner.run(["sysctl", "-qw", "net.ipv4.tcp_syncookies=2"]);
    const applied = await applyRedirect(planned(BACKENDS[0]), lab.runner);
    expect(applied.ok ? "" : applied.error).toContain("net.ipv4.tcp_syncookies to 1");
    await lab.runner.run(["sysctl", "-qw", "net.ipv4.tcp_syncookies=1"]);
  });

  test("the backend is iptables where it can be used, nft otherwise, and a host with neither is told what to install", async () => {
    expect(await chooseBackend(lab.runner)).toEqual({ ok: true, value: "iptables" });
    expect(await chooseBackend(without("ipset"))).toEqual({ ok: true, value: "nft" });
    await applyRedirect(planned(BACKENDS[2]), lab.runner);
    expect(await chooseBackend(lab.runner)).toEqual({ ok: true, value: "nft" }); // what is applied stays
    await removeRedirect(lab.runner);
    const neither = await chooseBackend(without("iptables-save", "nft"));
    expect(neither.ok ? "" : neither.error).toContain("apt-get install iptables ipset");
    const noIp = await applyRedirect(planned(BACKENDS[0]), without("ip"));
    expect(noIp.ok ? "" : noIp.error).toContain("apt-get install iproute2");
  });
});
