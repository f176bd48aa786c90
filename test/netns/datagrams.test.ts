// The redirect of datagrams against real kernels' rules: who comes out where, what it never touches, and that nothing stays behind.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  applyRedirect,
  redirectStatus,
  removeRedirect,
  updateEndpoints,
} from "../../agent/os/redirect/apply.ts";
import type { AddressPort } from "../../agent/os/redirect/input.ts";
import { type Actor, AGENT_UID, canRun, HOST, Lab, PEER } from "./lab.ts";
import {
  BACKENDS,
  type Backend,
  planned,
  RATINGS_UID,
  REVIEWS_UID,
  STRANGER_UID,
  VIP4,
  VIP6,
} from "./redirect-plan.ts";

type Seen = Record<string, number>;
const SYSLOG = 514;
const APP = 5_140;
const UNDECLARED = 5_999;
const ENDPOINTS: readonly AddressPort[] = [
  [HOST.ip, 7_000],
  [VIP4, SYSLOG, "udp"],
  [VIP6, SYSLOG, "udp"],
  [PEER.ip, APP, "udp"],
  [PEER.ip6, APP, "udp"],
];

const isFull = process.env["IRONMESH_TIER"] === "full";

describe.skipIf(!canRun("redirect of datagrams"))("redirect of datagrams", () => {
  // The fast tier has the one whose TPROXY needs a rule more.
  for (const backend of BACKENDS)
    if (isFull || backend.name === "nft") describe(backend.name, () => suite(backend));
});

function suite(backend: Backend): void {
  let lab: Lab;
  let agent: Actor;
  let reviews: Actor;
  let ratings: Actor;
  let stranger: Actor;
  let peer: Actor;
  let before: string;
  const plan = planned(backend, {
    workloads: [
      {
        name: "default/reviews",
        outboundPort: 15_101,
        owner: { is: "uid", uid: REVIEWS_UID },
        appPorts: [],
        udpPorts: [APP],
      },
      {
        name: "default/ratings",
        outboundPort: 15_102,
        owner: { is: "gid", gid: RATINGS_UID },
        appPorts: [],
      },
    ],
    endpoints: ENDPOINTS,
  });
  const seen = (who: Actor): Promise<Seen> => who.ask<Seen>({ act: "seen" });
  const send = (who: Actor, address: string, port: number, by?: string): Promise<string> =>
    who.ask<string>({ act: "datagram", address, port, text: `to ${address} ${port}`, by });
  /** Comes out at that listener of the agent's, which echoes as if it were who was asked. */
  const comesOutAt = async (listener: number, who: Actor, address: string, port: number) => {
    const what = `udp ${listener} <- ${address}:${port}`;
    const was = (await seen(agent))[what] ?? 0;
    expect(await send(who, address, port)).toBe(`to ${address} ${port}`);
    expect({ [what]: (await seen(agent))[what] }).toEqual({ [what]: was + 1 });
  };
  const agentListens = async (): Promise<void> => {
    for (const address of ["127.0.0.1", "::1"])
      for (const port of [15_001, 15_006, 15_101, 15_102])
        expect(await agent.ask<string>({ act: "listenDatagrams", address, port })).toBe(
          "listening",
        );
  };

  beforeAll(async () => {
    lab = await Lab.up();
    // Legacy tables cannot be unmade once any program has looked at them: look first.
    if (backend.variant === "legacy")
      for (const program of ["iptables-legacy", "ip6tables-legacy"])
        for (const table of ["nat", "mangle", "filter"])
          await lab.runner.run([program, "-t", table, "-nL"]);
    [agent, reviews, ratings, stranger, peer] = await Promise.all([
      lab.actor("host", AGENT_UID),
      lab.actor("host", REVIEWS_UID),
      lab.actor("host", RATINGS_UID),
      lab.actor("host", STRANGER_UID),
      lab.actor("peer", 0),
    ]);
    for (const [who, port] of [
      [reviews, APP],
      [stranger, UNDECLARED],
      [peer, APP],
      [peer, UNDECLARED],
    ] as const)
      expect(await who.ask<string>({ act: "echoDatagrams", port })).toBe("listening");
    before = await lab.dump();
    expect(await applyRedirect(plan, lab.runner)).toEqual({ ok: true, value: { changed: true } });
    await agentListens();
  });
  afterAll(() => lab.down());

  test("applying the same plan again changes nothing, and the kernel holds what was planned", async () => {
    expect(await redirectStatus(plan, lab.runner)).toEqual({ ok: true, value: [] });
    const once = await lab.dump();
    expect(await applyRedirect(plan, lab.runner)).toEqual({ ok: true, value: { changed: false } });
    expect(await lab.dump()).toBe(once);
  });

  test("a datagram to a declared port comes out at its sender's listener, with its destination, and is answered from there", async () => {
    for (const [listener, who] of [
      [15_101, reviews],
      [15_102, ratings],
      [15_001, stranger],
    ] as const)
      for (const [address, port] of [
        [VIP4, SYSLOG],
        [VIP6, SYSLOG],
        [PEER.ip, APP],
        [PEER.ip6, APP],
      ] as const)
        await comesOutAt(listener, who, address, port);
    expect((await seen(peer))[`udp ${APP}`]).toBeUndefined();
  });

  test("a workload's own port is reached through the agent by every local program, and by the agent itself", async () => {
    for (const address of ["127.0.0.1", "::1", HOST.ip, HOST.ip6])
      await comesOutAt(15_001, stranger, address, APP);
    expect((await seen(reviews))[`udp ${APP}`]).toBeUndefined();
    expect(await send(agent, HOST.ip, APP)).toBe(`to ${HOST.ip} ${APP}`);
    expect((await seen(reviews))[`udp ${APP}`]).toBe(1);
  });

  test("what another host sends to a workload's port comes out at the inbound listener; what answers the workload does not", async () => {
    for (const address of [HOST.ip, HOST.ip6]) {
      const what = `udp 15006 <- ${address}:${APP}`;
      await send(peer, address, APP);
      expect((await seen(agent))[what]).toBe(1);
    }
    expect((await seen(reviews))[`udp ${APP}`]).toBe(1);
    for (const address of [PEER.ip, PEER.ip6])
      expect(await send(reviews, address, UNDECLARED, `udp ${APP}`)).toBe(
        `to ${address} ${UNDECLARED}`,
      );
  });

  test("undeclared UDP never meets it, in either direction", async () => {
    const was = await seen(agent);
    for (const address of [PEER.ip, PEER.ip6])
      expect(await send(stranger, address, UNDECLARED)).toBe(`to ${address} ${UNDECLARED}`);
    for (const address of [HOST.ip, HOST.ip6])
      expect(await send(peer, address, UNDECLARED)).toBe(`to ${address} ${UNDECLARED}`);
    expect(await send(stranger, VIP4, 515)).toBe("ECONNREFUSED");
    expect(await seen(agent)).toEqual(was);
  });

  test("an endpoint comes and goes as one element, with no rule touched", async () => {
    const one: readonly AddressPort[] = [[PEER.ip, UNDECLARED, "udp"]];
    const change = { add: one, remove: [] };
    expect((await updateEndpoints(backend.backend, change, lab.runner)).ok).toBe(true);
    await comesOutAt(15_101, reviews, PEER.ip, UNDECLARED);
    const back = { add: [], remove: one };
    expect((await updateEndpoints(backend.backend, back, lab.runner)).ok).toBe(true);
    expect(await redirectStatus(plan, lab.runner)).toEqual({ ok: true, value: [] });
    const taken = await seen(agent);
    expect(await send(reviews, PEER.ip, UNDECLARED)).toBe(`to ${PEER.ip} ${UNDECLARED}`);
    expect(await seen(agent)).toEqual(taken);
  });

  test("with the agent gone, declared datagrams are lost: no other user's socket on its port gets them, and no peer", async () => {
    agent.kill();
    await agent.ended;
    expect(await stranger.ask<string>({ act: "echoDatagrams", port: 15_101 })).toBe("listening");
    const everybody = () => Promise.all([stranger, peer, reviews].map(seen));
    const was = await everybody();
    for (const [who, address, port] of [
      [reviews, VIP4, SYSLOG],
      [reviews, VIP6, SYSLOG],
      [stranger, PEER.ip, APP],
      [stranger, PEER.ip6, APP],
      [peer, HOST.ip, APP],
      [peer, HOST.ip6, APP],
    ] as const)
      expect([address, await send(who, address, port)]).toEqual([address, "silence"]);
    expect(await everybody()).toEqual(was);
  });

  test("removing leaves the host as it was", async () => {
    expect(await removeRedirect(lab.runner)).toEqual({ ok: true, value: undefined });
    expect(await lab.dump()).toBe(before);
    expect(await send(stranger, PEER.ip, APP)).toBe(`to ${PEER.ip} ${APP}`);
  });
}
