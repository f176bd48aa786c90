import { describe, expect, test } from "bun:test";
import { MemoryFabric } from "../../../test/support/memory-network.ts";
import type { MemoryStream } from "../../../test/support/memory-stream.ts";
import { TextEnd } from "../../../test/support/text-stream.ts";
import { VirtualClock } from "../../../test/support/virtual-clock.ts";
import { SeededRandom } from "../../base/clock.ts";
import type { MeshTarget } from "../../base/net.ts";
import { OpaqueStreams } from "./opaque-streams.ts";

const CONFIG = { alpn: "opaque", framedAlpn: "framed" };
const TARGET: MeshTarget = {
  is: "mesh",
  address: "10.0.0.2",
  port: 15008,
  as: "spiffe://mesh/a",
  serverName: "5432.db",
  alpn: "opaque",
  peers: ["spiffe://mesh/b"],
};
const CUT = { is: "failed", code: "ECONNRESET" } as const;

/** Two ends, each as an owner sees it, and the connections under them. */
function pair(
  options: { seed?: number; splits?: boolean; serverAlpns?: string[]; speaksRaw?: boolean } = {},
) {
  const clock = new VirtualClock();
  const random = new SeededRandom(options.seed ?? 1);
  const fabric = new MemoryFabric({ splits: options.splits ?? false }, { clock, random });
  const counts = { cut: 0, old: 0 };
  const streamsOf = (address: string): OpaqueStreams =>
    new OpaqueStreams(CONFIG, {
      network: fabric.host(address),
      timers: clock,
      soon: (task) => void clock.after(0, task),
      onCut: () => counts.cut++,
      onOldPeer: () => counts.old++,
    });
  const dialling = streamsOf("10.0.0.1");
  const accepting = streamsOf("10.0.0.2");
  const server = new TextEnd();
  let under: MemoryStream | undefined;
  fabric.host("10.0.0.2").listenMesh(15008, {
    alpns: options.serverAlpns ?? ["framed", "opaque"],
    identityOf: () => "spiffe://mesh/b",
    accept: (stream) => {
      under = stream as MemoryStream;
      if (options.speaksRaw) server.attach(stream);
      else if (!accepting.accept(stream, (one) => server.attach(one))) server.attach(stream);
    },
  });
  const client = new TextEnd();
  client.stream = dialling.dial(TARGET, client);
  /** Whoever sees the packets ends what one of the two receives. */
  const forgeEnd = (of: "client" | "server"): void => {
    if (under === undefined) throw new Error("nothing was accepted yet");
    if (of === "server") under.suffer({ is: "peer_ends" });
    else under.endWrite();
  };
  const settle = (ms = 50): void => clock.pass(ms);
  settle();
  return { clock, client, server, counts, dialling, accepting, forgeEnd, settle };
}

test("each end knows who the other is and what flows, by its own name", () => {
  const { client, server } = pair();
  const serverName = "5432.db";
  expect(client.stream?.mesh).toEqual({ identity: "spiffe://mesh/b", serverName, alpn: "opaque" });
  expect(server.stream?.mesh).toEqual({ identity: "spiffe://mesh/a", serverName, alpn: "opaque" });
});

test("one direction's end leaves the other open, and both make an end in order", () => {
  const { client, server, counts, settle } = pair();
  client.send("question");
  client.end();
  settle();
  expect([server.text, server.hasEnded, client.hasEnded]).toEqual(["question", true, false]);
  server.send("late answer");
  server.end();
  settle();
  expect(client.text).toBe("late answer");
  expect([client.closed, server.closed]).toEqual([{ is: "ended" }, { is: "ended" }]);
  expect(counts).toEqual({ cut: 0, old: 0 });
});

test("bytes in any pieces, both ways at once and slowly, arrive as they were, then both ends", () => {
  for (let seed = 1; seed <= 15; seed++) {
    const { client, server, counts, settle } = pair({ seed, splits: true });
    const random = new SeededRandom(seed);
    const text = (length: number): string =>
      Array.from({ length }, () => String.fromCharCode(32 + random.unit() * 90)).join("");
    const said = { client: "", server: "" };
    for (let i = 0; i < 12; i++) {
      for (const [name, end] of [
        ["client", client],
        ["server", server],
      ] as const) {
        const piece = text(1 + Math.floor(random.unit() * 20_000));
        said[name] += piece;
        end.send(piece);
        if (random.unit() < 0.3) end.stream?.pause();
        else end.stream?.resume();
      }
      settle(1);
    }
    client.end();
    server.end();
    client.stream?.resume();
    server.stream?.resume();
    settle(2_000);
    expect(server.text === said.client && client.text === said.server).toBe(true);
    expect([client.closed, server.closed]).toEqual([{ is: "ended" }, { is: "ended" }]);
    expect(counts.cut).toBe(0);
  }
});

describe("an end that the peer did not say is a reset, and counted", () => {
  const states: Record<string, (ends: ReturnType<typeof pair>) => void> = {
    "before anything was said": () => {},
    "between two frames": ({ client, server, settle }) => {
      client.send("question");
      server.send("half of the ans");
      settle();
    },
    "in the middle of a frame": ({ client, server, settle }) => {
      client.send("x".repeat(100_000));
      server.send("y".repeat(100_000));
      settle(1);
    },
    "once our own direction has ended": ({ client, server, settle }) => {
      client.end();
      server.send("half of the ans");
      settle();
      expect(server.hasEnded).toBe(true);
    },
    "while it is not read": ({ client, server, settle }) => {
      client.stream?.pause();
      server.send("half of the ans");
      settle();
    },
  };
  for (const [name, reach] of Object.entries(states)) {
    for (const of of ["client", "server"] as const) {
      if (name.startsWith("once our own") && of === "server") continue;
      test(`${name}, at the ${of}`, () => {
        const ends = pair();
        reach(ends);
        ends.forgeEnd(of);
        ends.settle(20);
        ends.client.stream?.resume();
        ends.settle(500);
        const victim = ends[of];
        expect(victim.closed).toEqual(CUT);
        expect(victim.hasEnded).toBe(false);
        expect(ends.counts.cut).toBeGreaterThan(0);
      });
    }
  }

  test("but after the peer's own end it changes nothing", () => {
    const { client, server, counts, forgeEnd, settle } = pair();
    server.send("answer");
    server.end();
    settle();
    forgeEnd("client");
    settle();
    client.send("still speaking");
    client.end();
    settle();
    expect([client.text, server.text]).toEqual(["answer", "still speaking"]);
    expect([client.closed, server.closed]).toEqual([{ is: "ended" }, { is: "ended" }]);
    expect(counts.cut).toBe(0);
  });
});

test("a peer that resets is a reset, and no cut", () => {
  const { client, server, counts, settle } = pair();
  server.stream?.reset();
  settle();
  expect(client.closed).toEqual(CUT);
  expect(counts.cut).toBe(0);
});

test("an end that comes while nothing is read is told after resume", () => {
  const { client, server, settle } = pair();
  client.stream?.pause();
  server.send("answer");
  server.end();
  settle();
  expect([client.text, client.hasEnded]).toEqual(["", false]);
  client.onText = (end) => end.stream?.pause();
  client.stream?.resume();
  settle();
  expect([client.text, client.hasEnded]).toEqual(["answer", false]);
  client.stream?.resume();
  settle();
  expect(client.hasEnded).toBe(true);
});

test("a closed stream's end goes out as soon as the peer reads, and a drain waits for it", () => {
  const { client, server, dialling, settle } = pair();
  server.stream?.pause();
  const piece = new Uint8Array(65_536 - 3);
  client.send(piece);
  expect(client.unsentBytes).toBe(0);
  client.stream?.close();
  settle();
  expect(dialling.isDrained).toBe(false);
  server.keepsText = false;
  server.stream?.resume();
  settle();
  expect([server.bytesReceived, server.hasEnded]).toEqual([piece.length, true]);
  expect(dialling.isDrained).toBe(true);
});

test("a peer that never reads keeps it for seconds, and then it is a reset", () => {
  const { client, server, dialling, settle } = pair();
  server.stream?.pause();
  client.send(new Uint8Array(65_536 - 3));
  client.stream?.close();
  settle(4_900);
  expect(dialling.isDrained).toBe(false);
  settle(200);
  expect(dialling.isDrained).toBe(true);
  expect(server.hasEnded).toBe(false);
  expect(server.closed?.is).toBe("failed");
});

test("a peer that speaks nonsense loses its connection", () => {
  const { client, server, counts, settle } = pair({ speaksRaw: true });
  server.send(Uint8Array.from([0, 0, 2, 65, 66, 255, 255, 255]));
  settle();
  expect(client.closed).toEqual({ is: "failed", code: "EPROTO" });
  expect(server.closed).toEqual(CUT);
  expect(counts.cut).toBe(0);
});

test("with a peer of the older wire the connection is as it was, and counted", () => {
  const { client, server, counts, settle } = pair({ serverAlpns: ["opaque"] });
  client.send("question");
  client.end();
  settle();
  server.send("answer");
  server.end();
  settle();
  expect([server.text, client.text, client.hasEnded || client.closed?.is]).toEqual([
    "question",
    "answer",
    "ended",
  ]);
  expect(counts).toEqual({ cut: 0, old: 2 });
});
