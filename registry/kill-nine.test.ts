// What a config server acknowledged survives kill -9: a real one, in a process of its own, over real sockets.
import { afterAll, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { Agent } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ApplyResponse, ListResponse } from "../agent/api/operator-api.ts";
import { ask, type ServerAddress } from "../test/support/config-server-client.ts";

const APPLIES = 1_000;
const KILLS = 4;
const RESOURCES = 40;
const AT_ONCE = 4;

const stateDir = mkdtempSync(join(tmpdir(), "ironmesh-kill-"));
let child: ChildProcess | undefined;
afterAll(() => {
  child?.kill("SIGKILL");
  rmSync(stateDir, { recursive: true });
});

function start(): Promise<ServerAddress> {
  const script = join(import.meta.dir, "../test/support/config-server-child.ts");
  const started = spawn(process.execPath, [script, stateDir], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  child = started;
  return new Promise((resolve, reject) => {
    started.stdout.on("data", (chunk: Buffer) => {
      const url = /config server {3}(\S+)/.exec(chunk.toString())?.[1];
      if (url === undefined) return;
      const root = readFileSync(join(stateDir, "ca/root.pem"), "utf8");
      resolve({ url, trustBundle: [root.slice(0, root.indexOf("-----BEGIN PRIVATE"))] });
    });
    started.on("exit", (code) => reject(new Error(`ended with ${code} before it served`)));
  });
}

function killed(): Promise<void> {
  const dying = child;
  if (dying === undefined || dying.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    dying.on("exit", () => resolve());
    dying.kill("SIGKILL");
  });
}

const workload = (slot: number, turn: number) => ({
  apiVersion: "ironmesh.dev/v1",
  kind: "Workload",
  metadata: { name: `w${slot}`, namespace: "default", labels: { turn: String(turn) } },
  spec: { hosts: ["vm-1"], serviceAccount: "a", process: { uid: 1000 + slot } },
});

test("kill -9 during a thousand applies loses nothing that was acknowledged", async () => {
  /** Slot -> the last turn the server said is applied. */
  const acknowledged = new Map<number, number>();
  let highestVersion = 0;
  let turn = 0;
  for (let life = 0; life <= KILLS; life++) {
    const server = await start();
    const operator = readFileSync(join(stateDir, "operator-token"), "utf8").trim();
    const as = { operator, agent: new Agent({ keepAlive: true, maxSockets: AT_ONCE }) };
    const list = await ask<ListResponse>(server, "GET", "/v1/resources", undefined, as);
    expect(list.body.version).toBeGreaterThanOrEqual(highestVersion);
    const stored = new Map(
      list.body.resources.map(({ metadata }) => [metadata.name, Number(metadata.labels?.["turn"])]),
    );
    for (const [slot, last] of acknowledged) {
      expect(stored.get(`w${slot}`)).toBeGreaterThanOrEqual(last);
    }
    const until = Math.floor((APPLIES * (life + 1)) / (KILLS + 1));
    const isLast = life === KILLS;
    const write = async (lane: number): Promise<void> => {
      while (turn < until) {
        const mine = turn++;
        // A lane keeps to its own slots, so that turns of one slot are in order.
        const slot = lane + AT_ONCE * (mine % (RESOURCES / AT_ONCE));
        const body = { documents: [workload(slot, mine)] };
        const answer = await ask<ApplyResponse>(server, "POST", "/v1/apply", body, as).catch(
          () => undefined, // Killed: neither acknowledged nor refused.
        );
        if (answer === undefined) return;
        expect(answer.status).toBe(200);
        acknowledged.set(slot, mine);
        highestVersion = Math.max(highestVersion, answer.body.version);
        // In the middle of the others' applies, at a different place of the transaction each time.
        if (!isLast && mine === until - 10 * (life + 1)) child?.kill("SIGKILL");
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, (_, lane) => write(lane)));
    await killed();
    as.agent.destroy();
  }
  expect(turn).toBeGreaterThanOrEqual(APPLIES);
  expect(highestVersion).toBeGreaterThan(APPLIES * 0.9);
}, 120_000);
