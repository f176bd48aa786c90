// What a config server acknowledged survives kill -9: a real one, in a process of its own, over real sockets.
import { afterAll, expect, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { Agent } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ApplyResponse, ListResponse } from "../agent/api/operator-api.ts";
import { ask, type ServerAddress } from "../test/support/config-server-client.ts";
import { TestConsul } from "../test/support/consul.ts";

/** Each over real sockets and synced to disk; Consul's take longer. */
const isFull = process.env["IRONMESH_TIER"] === "full";
const APPLIES = { embedded: isFull ? 1_000 : 300, consul: isFull ? 1_000 : 60 };
const KILLS = 4;
const RESOURCES = 40;
const AT_ONCE = 4;

const root = mkdtempSync(join(tmpdir(), "ironmesh-kill-"));
let child: ChildProcess | undefined;
let consul: TestConsul | undefined;
afterAll(async () => {
  child?.kill("SIGKILL");
  await consul?.stop();
  rmSync(root, { recursive: true });
});

function start(stateDir: string): Promise<ServerAddress> {
  const script = join(import.meta.dir, "../test/support/config-server-child.ts");
  const on = consul === undefined ? [] : [consul.url];
  const started = spawn(process.execPath, [script, stateDir, ...on], {
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

test("kill -9 amid applies loses nothing that was acknowledged", async () => {
  await killAmidApplies("embedded");
}, 240_000);

test("kill -9 of the server and of Consul amid applies loses nothing that was acknowledged", async () => {
  consul = await TestConsul.start();
  await killAmidApplies("consul");
}, 240_000);

type As = { readonly operator: string; readonly agent: Agent };

/** The version it made. `killed`: neither acknowledged nor refused. `refused`: Consul died first. */
async function applied(
  server: ServerAddress,
  as: As,
  document: object,
): Promise<number | "killed" | "refused"> {
  const body = { documents: [document] };
  const answer = await ask<ApplyResponse>(server, "POST", "/v1/apply", body, as).catch(
    () => undefined,
  );
  if (answer === undefined) return "killed";
  if (consul !== undefined && answer.status === 503) return "refused";
  expect(answer.status).toBe(200);
  return answer.body.version;
}

/** Resolves to the version there is. */
async function holdsAll(
  server: ServerAddress,
  as: As,
  acknowledged: ReadonlyMap<number, number>,
): Promise<number> {
  const { body } = await ask<ListResponse>(server, "GET", "/v1/resources", undefined, as);
  const stored = new Map(
    body.resources.map(({ metadata }) => [metadata.name, Number(metadata.labels?.["turn"])]),
  );
  for (const [slot, last] of acknowledged) {
    expect(stored.get(`w${slot}`)).toBeGreaterThanOrEqual(last);
  }
  return body.version;
}

/** Every second time Consul too. */
function killNow(life: number): void {
  if (life % 2 === 1) void consul?.kill();
  child?.kill("SIGKILL");
}

async function reviveConsul(): Promise<void> {
  await consul?.kill();
  await consul?.resume();
}

async function killAmidApplies(registry: "embedded" | "consul"): Promise<void> {
  const stateDir = join(root, registry);
  const applies = APPLIES[registry];
  /** Slot -> the last turn the server said is applied. */
  const acknowledged = new Map<number, number>();
  let highestVersion = 0;
  let turn = 0;
  for (let life = 0; life <= KILLS; life++) {
    const server = await start(stateDir);
    const operator = readFileSync(join(stateDir, "operator-token"), "utf8").trim();
    const as = { operator, agent: new Agent({ keepAlive: true, maxSockets: AT_ONCE }) };
    const version = await holdsAll(server, as, acknowledged);
    expect(version).toBeGreaterThanOrEqual(highestVersion);
    const until = Math.floor((applies * (life + 1)) / (KILLS + 1));
    const killAt = life === KILLS ? undefined : until - Math.ceil(applies / 100) * (life + 1);
    const write = async (lane: number): Promise<void> => {
      while (turn < until) {
        const mine = turn++;
        // A lane keeps to its own slots, so that turns of one slot are in order.
        const slot = lane + AT_ONCE * (mine % (RESOURCES / AT_ONCE));
        const answer = await applied(server, as, workload(slot, mine));
        if (answer === "killed") return;
        if (answer === "refused") continue;
        acknowledged.set(slot, mine);
        highestVersion = Math.max(highestVersion, answer);
        // In the middle of the others' applies, at a different place of the transaction each time.
        if (mine === killAt) killNow(life);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, (_, lane) => write(lane)));
    await killed();
    as.agent.destroy();
    if (life % 2 === 1) await reviveConsul();
  }
  expect(turn).toBeGreaterThanOrEqual(applies);
  expect(highestVersion).toBeGreaterThan(applies * 0.85);
}
