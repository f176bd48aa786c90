// DNS capture against a real kernel: mesh names through it, ordinary names through it and, when the agent dies, past it.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { applyRedirect, redirectStatus, removeRedirect } from "../../agent/os/redirect/apply.ts";
import { type Actor, AGENT_UID, canRun, eventually, Lab, PEER } from "./lab.ts";
import { BACKENDS, type Backend, planned, STRANGER_UID, VIP4, VIP6 } from "./redirect-plan.ts";

const ORDINARY = "192.0.2.53";
const RESOLVERS = [PEER.ip, PEER.ip6];

describe.skipIf(!canRun("DNS capture"))("DNS capture", () => {
  for (const backend of BACKENDS) describe(backend.name, () => suite(backend));
});

function suite(backend: Backend): void {
  let lab: Lab;
  let agent: Actor;
  let app: Actor;
  let world: Actor;
  let before: string;
  const plan = planned(backend, { resolvers: RESOLVERS });
  const ask = (order: Record<string, unknown>): Promise<string> =>
    app.ask<string>({ act: "query", ...order });
  const startAgent = async (): Promise<void> => {
    agent = await lab.actor("host", AGENT_UID);
    const order = {
      act: "capture",
      backend: backend.backend,
      resolvers: RESOLVERS,
      vip4: VIP4,
      vip6: VIP6,
    };
    expect(await agent.ask<unknown>(order)).toBe("capturing");
  };
  const meshNamesWork = (): Promise<boolean> =>
    eventually(async () => (await ask({ server: PEER.ip, question: "reviews" })) === VIP4, 2_000);

  beforeAll(async () => {
    lab = await Lab.up();
    if (backend.variant === "legacy") {
      for (const program of ["iptables-legacy", "ip6tables-legacy"]) {
        for (const table of ["nat", "mangle", "filter"])
          await lab.runner.run([program, "-t", table, "-nL"]);
      }
    }
    [app, world] = await Promise.all([lab.actor("host", STRANGER_UID), lab.actor("peer", 0)]);
    await world.ask({ act: "resolver", addresses: RESOLVERS, data: ORDINARY });
    before = await lab.dump();
    expect((await applyRedirect(plan, lab.runner)).ok).toBe(true);
    await startAgent();
  });
  afterAll(() => lab.down());

  test("mesh names resolve whichever resolver is asked, over UDP and TCP, IPv4 and IPv6, letter for letter", async () => {
    for (const server of RESOLVERS) {
      expect(await ask({ server, question: "reviews" })).toBe(VIP4);
      expect(await ask({ server, question: "rEvIeWs" })).toBe(VIP4);
      expect(await ask({ server, question: "reviews", type: "AAAA" })).toBe(VIP6);
      expect(await app.ask<string>({ act: "queryTcp", server, question: "reviews" })).toBe(VIP4);
    }
    const asked = await world.ask<Record<string, number>>({ act: "seen" });
    const ofTheMesh = (seen: Record<string, number>): [string, number][] =>
      Object.entries(seen).filter(([what]) => what.toLowerCase().includes("reviews"));
    expect(ofTheMesh(asked)).toEqual([]); // from the first question on: the agent said that it captures
  });

  test("ordinary names come from the resolver that was asked, over UDP and TCP", async () => {
    for (const server of RESOLVERS) {
      expect(await ask({ server, question: "example.org" })).toBe(ORDINARY);
      expect(await app.ask<string>({ act: "queryTcp", server, question: "tcp.example.org" })).toBe(
        ORDINARY,
      );
    }
  });

  test("when the agent is killed ordinary names resolve again within 2 s, and mesh names once it is back, also on a socket in use throughout", async () => {
    for (const [i, server] of RESOLVERS.entries()) {
      expect(await ask({ socket: `old${i}`, server, question: "before.example.org" })).toBe(
        ORDINARY,
      );
      expect(await ask({ socket: `old${i}`, server, question: "reviews" })).toBe(VIP4);
    }
    agent.kill();
    await agent.ended;
    const diedMs = performance.now();
    const outcomes = await Promise.all(
      RESOLVERS.flatMap((server, i) =>
        [{ socket: `old${i}` }, {}].map((socket) =>
          eventually(
            async () =>
              (await ask({ ...socket, server, question: "after.example.org", withinMs: 200 })) ===
              ORDINARY,
            2_000,
          ),
        ),
      ),
    );
    expect(outcomes).toEqual([true, true, true, true]);
    expect(performance.now() - diedMs).toBeLessThan(2_000);
    expect(
      await app.ask<string>({ act: "queryTcp", server: PEER.ip, question: "t.example.org" }),
    ).toBe(ORDINARY);

    await startAgent();
    expect(await meshNamesWork()).toBe(true);
    for (const [i, server] of RESOLVERS.entries()) {
      expect(
        await eventually(
          async () => (await ask({ socket: `old${i}`, server, question: "reviews" })) === VIP4,
          2_000,
        ),
      ).toBe(true);
    }
  });

  test("a socket opened anew takes over from one that a crashed thread left open", async () => {
    const newer = { vip4: "240.240.0.99", vip6: "2001:2::99" };
    await agent.ask({ act: "capture", backend: backend.backend, resolvers: RESOLVERS, ...newer });
    for (const server of RESOLVERS) {
      for (let i = 0; i < 5; i++)
        expect(await ask({ server, question: "reviews" })).toBe(newer.vip4);
    }
    agent.kill();
    await agent.ended;
    await startAgent();
    expect(await meshNamesWork()).toBe(true);
  });

  test("a change of rules leaves names captured, from the first question on", async () => {
    const changed = planned(backend, { resolvers: RESOLVERS, workloads: [] });
    const answers: string[] = [];
    for (let i = 0; i < 10; i++) {
      const applied = await applyRedirect(i % 2 === 0 ? changed : plan, lab.runner);
      expect(applied).toEqual({ ok: true, value: { changed: true } });
      answers.push(await ask({ server: PEER.ip, question: "reviews" }));
    }
    expect(answers).toEqual(Array.from(answers, () => VIP4));
  });

  test("capture lives while the agent does, and removing it leaves the host as it was", async () => {
    expect(await redirectStatus(plan, lab.runner)).toEqual({ ok: true, value: [] });
    for (let i = 0; i < 8; i++) {
      expect(await ask({ server: PEER.ip, question: "reviews" })).toBe(VIP4);
      await new Promise((resolve) => setTimeout(resolve, 150)); // past the lease's second, on the kernel's own clock
    }
    expect(await removeRedirect(lab.runner)).toEqual({ ok: true, value: undefined });
    expect(await ask({ server: PEER.ip, question: "example.org" })).toBe(ORDINARY);
    expect(await lab.dump()).toBe(before);
  });
}
