// What UDP through two real agents lives through: the death of either, an upgrade in place, and the end of a declaration.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { isRunning } from "../../cli/demo/daemon.ts";
import { canRun, eventually } from "../support/hosts.ts";
import { DatagramMesh } from "./datagram-mesh.ts";

setDefaultTimeout(60_000);
// Half a minute for each back end: the fast tier has datagrams in http.test.ts.
const isFull = process.env["IRONMESH_TIER"] === "full";
const can = isFull && (await canRun("datagrams"));

for (const backend of can ? (["nft", "iptables"] as const) : [])
  describe(`by ${backend}`, () => {
    let on: DatagramMesh;
    /** Of agents that no child of ours is. */
    const pids: number[] = [];
    beforeAll(async () => {
      on = await DatagramMesh.up(backend);
      await on.untilAnswered(on.client);
    });
    afterAll(async () => {
      for (const pid of pids) if (isRunning(pid)) process.kill(pid, "SIGKILL");
      await on?.down();
    });

    describe("the death of an agent", () => {
      for (const who of ["b", "a"] as const)
        test(`on ${who === "b" ? "the called" : "the calling"} host loses datagrams until it is back, shows nobody any, and the same socket goes on`, async () => {
          expect(await on.ask(on.client, { socket: "survivor" })).toEqual([64]);
          await on.mesh.kill(who);
          await on.forgetSeen();
          expect(await on.ask(on.client, { socket: "survivor", withinMs: 500 })).toEqual([]);
          expect(await on.seenByApp()).toEqual([]);
          on.mesh.startAgent(who);
          await on.mesh.untilServing(who);
          await eventually(
            "an answer again",
            async () => {
              return (await on.ask(on.client, { socket: "survivor", withinMs: 300 })).length === 1;
            },
            20_000,
          );
        });
    });

    describe("an upgrade in place", () => {
      for (const host of ["a", "b"] as const)
        test(`of the ${host === "b" ? "called" : "calling"} host's agent: a socket in use goes on, and loses nothing`, async () => {
          const socket = `upgraded ${host}`;
          expect(await on.ask(on.client, { socket })).toEqual([64]);
          const sizes = Array.from({ length: 600 }, (_, i) => i + 1);
          const heard = on.ask(on.client, { socket, sizes, gapMs: 10, withinMs: 45_000 });
          const { code, stderr } = await on.mesh.upgrade(host);
          expect(`${code} ${stderr}`).toBe("0 ");
          pids.push((await on.mesh.untilServing(host)).pid);
          const answers = await heard;
          expect(answers.toSorted((x, y) => Number(x) - Number(y))).toEqual(sizes);
        });
    });

    describe("the end", () => {
      test("of a declaration ends its flows, each with one line at both ends, and leaves no rule behind", async () => {
        const socket = "logged";
        for (let i = 0; i < 7; i++) expect(await on.ask(on.client, { socket })).toEqual([64]);
        await on.mesh.meshctl("delete", "workload", "logs");
        for (const [host, cluster] of [
          ["a", /logs\.default\.mesh/],
          ["b", /^inbound\|5140\|\|$/],
        ] as const) {
          const line = await on.endedFlow(host, 7, cluster);
          expect(line).toMatchObject({ datagrams_sent: 7, response_flags: "-" });
          expect(line.downstream_peer_identity).toMatch(/\/sa\/client$/);
        }
        expect((await on.mesh.redirect("a", "remove")).code).toBe(0);
        const look = ["sh", "-c", "ip rule; ip -6 rule; nft list ruleset"];
        const left = await on.mesh.hosts.run("a", look, { uid: 0 });
        expect(left.stdout).not.toMatch(/554d|tproxy|ironmesh/i);
      });
    });
  });
