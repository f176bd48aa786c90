// Programs that nobody here wrote, through two real agents and what they dial with: @grpc/grpc-js with streams of 100 MB, `ws`, curl, h2load, and
// WebSocket of Chromium.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, chownSync, mkdirSync, writeFileSync } from "node:fs";
import { launchBrowser } from "../support/browser.ts";
import { canRun, eventually } from "../support/hosts.ts";
import { PeerPrograms } from "../support/peer-programs.ts";
import type { CallJob, CallOutcome } from "./grpc-peer.ts";
import { type Member, Mesh } from "./mesh.ts";
import { peerWorkload } from "./peer-servers.ts";
import { PEERS, UID } from "./ports.ts";
import { timed } from "./timed.ts";
import type { ChatOutcome } from "./ws-peer.ts";

setDefaultTimeout(180_000);
// A minute, and programs of 100 MB besides Chromium.
const isFull = process.env["IRONMESH_TIER"] === "full";
const can = isFull && (await canRun("peers of HTTP"));

const WORKLOADS =
  peerWorkload("calls", UID.grpc, 80, PEERS.grpc, "GRPC") +
  peerWorkload("chat", UID.chat, 80, PEERS.chat, "HTTP");

let mesh: Mesh;
let programs: PeerPrograms;

async function serve(source: string, uid: number, port: number, log: string): Promise<void> {
  const program = await mesh.hosts.nodeProgram(new URL(source, import.meta.url).pathname);
  mesh.hosts.spawn("b", ["node", program, "serve", `${port}`], { uid, log });
  await eventually(`${log} serves`, () => mesh.log(log).includes("serving"), 30_000);
}

if (can)
  beforeAll(async () => {
    // One data thread each: what four have in memory depends on which of them has served already.
    mesh = await Mesh.up([], ["--workers", "1"]);
    programs = await PeerPrograms.unpack(mesh.hosts);
    await serve("./grpc-peer.ts", UID.grpc, PEERS.grpc, "grpc");
    await serve("./ws-peer.ts", UID.chat, PEERS.chat, "chat");
    await mesh.apply(WORKLOADS);
  });
afterAll(() => mesh?.down());

async function asClient(...command: string[]): Promise<string> {
  const as = { uid: UID.client, env: programs.env };
  const { code, stdout, stderr } = await mesh.hosts.run("a", command, as, 170_000);
  if (code !== 0) throw new Error(`${command.join(" ")} ended with ${code}: ${stderr}${stdout}`);
  return stdout;
}

timed(can, "@grpc/grpc-js", () => {
  const call = async (verb: string, job: Partial<CallJob> = {}): Promise<CallOutcome> => {
    const program = await mesh.hosts.nodeProgram(
      new URL("./grpc-peer.ts", import.meta.url).pathname,
    );
    return JSON.parse(await asClient("node", program, verb, "calls:80", JSON.stringify(job)));
  };
  const HUNDRED_MB = { count: 100_000, bytes: 1_000 };
  /** By which an agent's peak may be higher in later streams than it was in the first: none is kept of what passed, and the collector
   *  comes when it comes. */
  const GROWTH_BYTES_MAX = 24_000_000;

  /** Each agent's largest resident memory meanwhile. */
  async function peakDuring(work: () => Promise<void>): Promise<Record<Member, number>> {
    const peak = { a: 0, b: 0 };
    const timer = setInterval(() => {
      for (const host of ["a", "b"] as const) peak[host] = Math.max(peak[host], mesh.rssOf(host));
    }, 20);
    await work();
    clearInterval(timer);
    return peak;
  }

  const messages = (): Promise<number[]> =>
    Promise.all(
      (["a", "b"] as const).flatMap((host) =>
        ["istio_request_messages_total", "istio_response_messages_total"].map((name) =>
          mesh.metric(host, name, 'destination_service_name="calls"', 'request_protocol="grpc"'),
        ),
      ),
    );
  /** Request and response messages that were counted meanwhile at a, and at b. */
  async function countedDuring(work: () => Promise<void>): Promise<number[]> {
    const before = await messages();
    await work();
    return (await messages()).map((count, i) => count - (before[i] ?? 0));
  }

  test("streams of 100 MB pass whole in either direction and to a slow reader, in memory that stays, and each message is counted", async () => {
    const { count, bytes } = HUNDRED_MB;
    const all = { count, bytes: count * bytes };
    const first = { a: 0, b: 0 };
    for (const [verb, outcome, counted, isFirst] of [
      ["down", all, [1, count], true],
      ["up", { text: `${all.count} ${all.bytes}` }, [count, 1], true],
      ["slow", all, [1, count], false],
      ["down", all, [1, count], false],
      ["up", { text: `${all.count} ${all.bytes}` }, [count, 1], false],
    ] as const) {
      let peak = { a: 0, b: 0 };
      const passed = await countedDuring(async () => {
        peak = await peakDuring(async () => {
          expect(await call(verb, HUNDRED_MB)).toEqual({ ...outcome, ms: expect.any(Number) });
        });
      });
      console.log(`gRPC, 100 MB ${verb}: peaks of ${peak.a >> 20} and ${peak.b >> 20} MiB`);
      expect([verb, passed]).toEqual([verb, [...counted, ...counted]]);
      for (const host of ["a", "b"] as const) {
        if (isFirst) first[host] = Math.max(first[host], peak[host]);
        else
          expect([verb, host, peak[host] - first[host] <= GROWTH_BYTES_MAX]).toEqual([
            verb,
            host,
            true,
          ]);
      }
    }
  });

  test("a stream of both directions goes turn by turn", async () => {
    expect(await call("both", { count: 500, bytes: 100 })).toMatchObject({ count: 500 });
  });

  test("who cancels is CANCELLED, whose deadline ends DEADLINE_EXCEEDED, and the server hears of both", async () => {
    const gone = async (): Promise<number> => Number.parseInt((await call("gone")).text ?? "", 10);
    const before = await gone();
    expect(await call("cancel", { count: 3, bytes: 10 })).toMatchObject({ code: 1, count: 3 });
    const late = await call("deadline");
    expect(late.code).toBe(4);
    expect(late.ms).toBeGreaterThanOrEqual(450);
    await eventually("the server hears", async () => (await gone()) === before + 2, 30_000);
  });
});

timed(can, "ws over Upgrade", () => {
  for (const host of ["chat", "chat-unsaid"])
    test(`messages of all sizes in frames, pings and a close with its reason pass, compressed or not: ${host}`, async () => {
      const program = await mesh.hosts.nodeProgram(
        new URL("./ws-peer.ts", import.meta.url).pathname,
      );
      const all: ChatOutcome[] = JSON.parse(
        await asClient("node", program, "call", `ws://${host}/chat`),
      );
      const wanted = { protocol: "chat", same: 14, pongs: 14, code: 4_001, reason: "as you wish" };
      expect(all).toEqual(
        all.map((_, i) => ({ ...wanted, extensions: i % 2 === 0 ? "permessage-deflate" : "" })),
      );
      expect(all).toHaveLength(20);
    });
});

timed(can, "curl and h2load", () => {
  const curl = (...words: string[]): Promise<string> =>
    asClient(
      "curl",
      "-sS",
      "-m",
      "60",
      "-o",
      "/dev/null",
      "-w",
      "%{http_version} %{http_code} %{size_download}",
      ...words,
    );

  test("curl by prior knowledge gets HTTP/2, and 50 MB in it", async () => {
    expect(await curl("--http2-prior-knowledge", "http://web/size/50000000")).toBe(
      "2 200 50000000",
    );
  });

  test("curl that offers h2c by Upgrade is answered in HTTP/1.1, and its offer goes no further", async () => {
    expect(await curl("--http2", "http://web/size/1000")).toBe("1.1 200 1000");
    const { body } = await mesh.curl("--http2", "http://web/seen");
    const seen = JSON.parse(body);
    expect([seen.url, seen.upgrade, seen["http2-settings"]]).toEqual([
      "/seen",
      undefined,
      undefined,
    ]);
  });

  test("h2load: 20,000 requests in 50 streams of each of 8 connections are all answered", async () => {
    const said = await asClient(
      "h2load",
      "-n",
      "20000",
      "-c",
      "8",
      "-m",
      "50", // in all fewer than Node's backlog
      "http://web/size/100",
    );
    expect(said).toContain(
      "20000 total, 20000 started, 20000 done, 20000 succeeded, 0 failed, 0 errored, 0 timeout",
    );
  });
});

timed(can, "Chromium", () => {
  test("loads a page and talks over a WebSocket, through its own host's agent", async () => {
    const directory = `${mesh.hosts.directory}/chromium`;
    mkdirSync(directory);
    chownSync(directory, UID.client, UID.client);
    const executable = `${mesh.hosts.directory}/chromium.sh`;
    const user = `setpriv --reuid ${UID.client} --regid ${UID.client} --clear-groups`;
    writeFileSync(
      executable,
      `#!/bin/sh\nexec ip netns exec ${mesh.hosts.namespaceOf("a")} ${user} -- /usr/bin/chromium "$@"\n`,
    );
    chmodSync(executable, 0o755);
    const browser = await launchBrowser(directory, { executable, env: { HOME: directory } });
    try {
      await browser.page.goto("http://chat.default.mesh/");
      expect(await browser.page.title()).toBe("chat");
      const said = await browser.page.evaluate(`new Promise((resolve) => {
        const socket = new WebSocket("ws://" + location.host + "/", "chat");
        const large = "x".repeat(3000000);
        const told = { protocol: "", extensions: "", texts: 0 };
        socket.onopen = () => {
          told.protocol = socket.protocol;
          told.extensions = socket.extensions;
          for (let i = 0; i < 100; i++) socket.send("n" + i);
          socket.send(large);
        };
        socket.onmessage = ({ data }) => {
          if (data === "n" + told.texts) told.texts++;
          if (data === large) socket.send("bye");
        };
        socket.onclose = ({ code, reason, wasClean }) => resolve({ ...told, code, reason, wasClean });
      })`);
      expect(said).toEqual({
        protocol: "chat",
        extensions: "permessage-deflate",
        texts: 100,
        code: 4_001,
        reason: "as you wish",
        wasClean: true,
      });
      expect(browser.complaints.filter((text) => !text.includes("favicon"))).toEqual([]);
    } finally {
      await browser.close();
    }
    const record = await mesh.accessOf("b", "/");
    expect(record.downstream_peer_identity).toBe("spiffe://mesh.local/ns/default/sa/client");
  });
});
