// The redirect against real kernels' rules: who comes out where, and that nothing stays behind.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  applyRedirect,
  redirectStatus,
  removeRedirect,
  updateEndpoints,
} from "../../agent/os/redirect/apply.ts";
import { hostRunner, type Runner } from "../../agent/os/redirect/runner.ts";
import { type Actor, AGENT_UID, canRun, eventually, HOST, Lab, PEER } from "./lab.ts";
import {
  APP_PORT,
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

describe.skipIf(!canRun("redirect"))("redirect", () => {
  for (const backend of BACKENDS) describe(backend.name, () => suite(backend));
});

function suite(backend: Backend): void {
  let lab: Lab;
  let agent: Actor;
  let reviews: Actor;
  let ratings: Actor;
  let stranger: Actor;
  let peer: Actor;
  let before: string;
  const seen = (): Promise<Seen> => agent.ask<Seen>({ act: "seen" });
  const dial = (who: Actor, address: string, port: number, times = 1): Promise<Seen> =>
    who.ask({ act: "dial", address, port, times });

  beforeAll(async () => {
    lab = await Lab.up();
    // Legacy tables cannot be unmade once any program has looked at them: look first.
    if (backend.variant === "legacy") {
      const looks = ["iptables-legacy", "ip6tables-legacy"].flatMap((program) =>
        ["nat", "mangle", "filter"].map((table) => [program, "-t", table, "-nL"]),
      );
      for (const look of looks) await lab.runner.run(look);
    }
    [agent, reviews, ratings, stranger, peer] = await Promise.all([
      lab.actor("host", AGENT_UID),
      lab.actor("host", REVIEWS_UID),
      lab.actor("host", RATINGS_UID),
      lab.actor("host", STRANGER_UID),
      lab.actor("peer", 0),
    ]);
    await stranger.ask({ act: "listenPlain", address: HOST.ip, port: 2_222 });
    await reviews.ask({ act: "listenPlain", address: "::", port: APP_PORT });
    for (const address of ["127.0.0.1", "::1"]) {
      for (const port of [15_001, 15_101, 15_102])
        await agent.ask({ act: "listenRedirected", address, port });
    }
    await agent.ask({ act: "listenRedirected", address: "::", port: 15_006 });
    // Stands in for SSH: open before conntrack ever looks.
    expect(
      await peer.ask<string>({ act: "hold", name: "ssh", address: HOST.ip, port: 2_222 }),
    ).toBe("connected");
    before = await lab.dump();
    expect(await applyRedirect(planned(backend), lab.runner)).toEqual({
      ok: true,
      value: { changed: true },
    });
  });
  afterAll(() => lab.down());

  const flush = (chain: string): string[] =>
    backend.backend === "nft"
      ? ["nft", "flush", "chain", "inet", "ironmesh", chain]
      : [
          `iptables-${backend.variant}`,
          "-t",
          chain === "guard" ? "filter" : "nat",
          "-F",
          `IRONMESH_${chain.toUpperCase()}`,
        ];
  const survives = async (text: string): Promise<void> => {
    expect(await peer.ask<string>({ act: "exchange", name: "ssh", text })).toBe(text);
  };

  test("a session that was open before lives on, and applying the same plan again changes nothing", async () => {
    await survives("after apply");
    const once = await lab.dump();
    expect(await applyRedirect(planned(backend), lab.runner)).toEqual({
      ok: true,
      value: { changed: false },
    });
    expect(await lab.dump()).toBe(once);
    expect(await redirectStatus(planned(backend), lab.runner)).toEqual({ ok: true, value: [] });
  });

  test("every connection that closes at once comes out at its owner's listener, with its destination", async () => {
    const all = await Promise.all([
      dial(reviews, VIP4, 80, 500),
      dial(ratings, VIP4, 80, 500),
      dial(stranger, VIP4, 80, 100),
      dial(reviews, VIP6, 80, 50),
    ]);
    expect(all.map((outcome) => outcome["connected"])).toEqual([500, 500, 100, 50]);
    const wanted = {
      [`15101 <- ${VIP4}:80`]: 500,
      [`15102 <- ${VIP4}:80`]: 500,
      [`15001 <- ${VIP4}:80`]: 100,
      [`15101 <- ${VIP6}:80`]: 50,
    };
    const hasAll = async (): Promise<boolean> =>
      JSON.stringify(Object.entries(await seen()).sort()) ===
      JSON.stringify(Object.entries(wanted).sort());
    await eventually(hasAll, 2_000);
    expect(await seen()).toEqual(wanted);
  });

  test("a listener dialled directly is told apart, by whichever address", async () => {
    const dials: [Actor, string, number][] = [
      [stranger, "127.0.0.1", 15_101],
      [stranger, HOST.ip, 15_101],
      [stranger, HOST.ip6, 15_101],
      [stranger, "::1", 15_102],
      [peer, HOST.ip, 15_102],
      [peer, HOST.ip6, 15_001],
    ];
    for (const [who, address, port] of dials) {
      expect(await dial(who, address, port)).toEqual({ connected: 1 });
      const what = `15006 <- ${address}:${port}`;
      expect(await eventually(async () => (await seen())[what] === 1, 1_000)).toBe(true);
    }
    expect(await dial(stranger, VIP4, 15_101)).toEqual({ connected: 1 });
    expect(
      await eventually(async () => (await seen())[`15001 <- ${VIP4}:15101`] === 1, 1_000),
    ).toBe(true);
  });

  test("a workload's port is redirected for other hosts and for this one; the agent reaches the app itself", async () => {
    await dial(peer, HOST.ip, APP_PORT);
    await dial(peer, HOST.ip6, APP_PORT);
    for (const address of ["127.0.0.1", "::1", HOST.ip]) await dial(stranger, address, APP_PORT);
    const wanted = [
      `15006 <- ${HOST.ip}:${APP_PORT}`,
      `15006 <- ${HOST.ip6}:${APP_PORT}`,
      ...["127.0.0.1", "::1", HOST.ip].map((address) => `15001 <- ${address}:${APP_PORT}`),
    ];
    await eventually(
      async () => Object.keys(await seen()).filter((key) => wanted.includes(key)).length === 5,
      1_000,
    );
    expect(Object.keys(await seen())).toEqual(expect.arrayContaining(wanted));
    expect((await reviews.ask<Seen>({ act: "seen" }))[`accepted ${APP_PORT}`]).toBeUndefined();
    expect(await dial(agent, "127.0.0.1", APP_PORT)).toEqual({ connected: 1 });
  });

  test("an endpoint comes and goes as one element, with no rule touched", async () => {
    await peer.ask({ act: "listenPlain", address: "::", port: 7_100 });
    expect(await dial(stranger, PEER.ip, 7_100)).toEqual({ connected: 1 });
    expect(Object.keys(await seen())).not.toContain(`15001 <- ${PEER.ip}:7100`);
    const both = [
      [PEER.ip, 7_100],
      [PEER.ip6, 7_100],
    ] as const;
    expect(await updateEndpoints(backend.backend, { add: both, remove: [] }, lab.runner)).toEqual({
      ok: true,
      value: undefined,
    });
    for (const [address] of both) {
      await dial(stranger, address, 7_100);
      expect(
        await eventually(async () => (await seen())[`15001 <- ${address}:7100`] === 1, 1_000),
      ).toBe(true);
    }
    expect(await updateEndpoints(backend.backend, { add: [], remove: both }, lab.runner)).toEqual({
      ok: true,
      value: undefined,
    });
    await dial(stranger, PEER.ip, 7_100);
    expect((await seen())[`15001 <- ${PEER.ip}:7100`]).toBe(1);
    expect(await redirectStatus(planned(backend), lab.runner)).toEqual({ ok: true, value: [] });
  });

  test("with the agent gone, another user on its ports gets no connection", async () => {
    const nobody = "15103";
    expect(
      await stranger.ask<string>({
        act: "listenPlain",
        address: "127.0.0.1",
        port: Number(nobody),
      }),
    ).toBe("listening");
    const plan = planned(backend, {
      workloads: [
        {
          name: "default/reviews",
          outboundPort: Number(nobody),
          owner: { is: "uid", uid: REVIEWS_UID },
          appPorts: [APP_PORT],
        },
      ],
    });
    expect(await applyRedirect(plan, lab.runner)).toEqual({ ok: true, value: { changed: true } });
    const outcome = await dial(reviews, VIP4, 80);
    expect(outcome["connected"]).toBeUndefined();
    expect((await stranger.ask<Seen>({ act: "seen" }))[`accepted ${nobody}`]).toBeUndefined();
    // It is the guard that does it: without, the stranger would be answered.
    await lab.runner.run(flush("guard"));
    expect(await dial(reviews, VIP4, 80)).toEqual({ connected: 1 });
    expect(await applyRedirect(plan, lab.runner)).toEqual({ ok: true, value: { changed: true } });
  });

  test("mode all takes every outbound connection but the excluded ones, and the open session lives on", async () => {
    const plan = planned(backend, {
      mode: "all",
      sshPorts: [2_222],
      exclusions: { uids: [RATINGS_UID], cidrs: [], ports: [7_101] },
    });
    expect(await applyRedirect(plan, lab.runner)).toEqual({ ok: true, value: { changed: true } });
    await survives("in mode all");
    await peer.ask({ act: "listenPlain", address: "::", port: 7_101 });
    await dial(reviews, PEER.ip, 7_100);
    expect(
      await eventually(async () => (await seen())[`15101 <- ${PEER.ip}:7100`] === 1, 1_000),
    ).toBe(true);
    const count = JSON.stringify(await seen());
    expect(await dial(reviews, PEER.ip, 7_101)).toEqual({ connected: 1 });
    expect(await dial(ratings, PEER.ip, 7_100)).toEqual({ connected: 1 });
    expect(JSON.stringify(await seen())).toBe(count);
  });

  test("on a host without /etc/protocols, as small systems are, what is applied is known as that, and stays", async () => {
    const script = 'mount --bind /dev/null /etc/protocols && exec "$@"';
    const small = hostRunner([
      ...["ip", "netns", "exec", lab.host, "unshare", "--mount", "sh", "-c", script, "sh"],
    ]);
    const plan = planned(backend);
    expect((await applyRedirect(plan, small)).ok).toBe(true);
    expect(await redirectStatus(plan, small)).toEqual({ ok: true, value: [] });
    expect(await applyRedirect(plan, small)).toEqual({ ok: true, value: { changed: false } });
    expect(await redirectStatus(plan, lab.runner)).toEqual({ ok: true, value: [] });
  });

  test("what somebody else changed in our rules is reported, and applying repairs it", async () => {
    const plan = planned(backend);
    await applyRedirect(plan, lab.runner);
    await lab.runner.run(flush("owner"));
    await lab.runner.run(["ip", "route", "del", "local", "240.240.0.0/16", "table", "local"]);
    const status = await redirectStatus(plan, lab.runner);
    expect(status.ok && status.value.length).toBe(2);
    expect(await applyRedirect(plan, lab.runner)).toEqual({ ok: true, value: { changed: true } });
    expect(await redirectStatus(plan, lab.runner)).toEqual({ ok: true, value: [] });
  });

  test("an apply that fails halfway leaves what was", async () => {
    const was = await lab.dump();
    const impossible = planned(backend, {
      workloads: [
        {
          name: "default/gone",
          outboundPort: 15_104,
          owner: { is: "slice", slice: "im-rd-no-such.slice" },
          appPorts: [],
        },
      ],
    });
    const applied = await applyRedirect(impossible, lab.runner);
    expect(applied.ok ? "" : applied.error).toContain("slice");
    expect(await lab.dump()).toBe(was);
  });

  if (backend.backend === "iptables")
    test("an apply whose second family fails leaves both as they were", async () => {
      const was = await lab.dump();
      let failures = 0;
      const failing: Runner = {
        ...lab.runner,
        run: (argv, input) =>
          argv[0]?.startsWith("ip6tables") === true &&
          argv[0].endsWith("restore") &&
          failures++ === 0
            ? lab.runner.run(["false"])
            : lab.runner.run(argv, input),
      };
      const plan = planned(backend, {
        mode: "all",
        endpoints: [
          [HOST.ip, 7_000],
          [PEER.ip, 7_000],
        ],
      });
      expect((await applyRedirect(plan, failing)).ok).toBe(false);
      expect(await lab.dump()).toBe(was);
      expect(await redirectStatus(planned(backend), lab.runner)).toEqual({ ok: true, value: [] });
    });

  test("removing leaves the host as it was, and the open session lives on", async () => {
    expect(await removeRedirect(lab.runner)).toEqual({ ok: true, value: undefined });
    await survives("after remove");
    expect(await lab.dump()).toBe(before);
    expect(await removeRedirect(lab.runner)).toEqual({ ok: true, value: undefined });
  });
}
