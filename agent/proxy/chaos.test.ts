// Apps that reset, cut short, answer nonsense or not at all, clients that hang up, endpoints that are not there, limits and swaps in
// between, from a seed: at the end nothing is left open, counted or caught.
import { expect, test } from "bun:test";
import {
  cluster,
  endpoint,
  forwardRoute,
  MeshFixture,
  service,
  VIP,
  workload,
} from "../../test/support/mesh-fixture.ts";
import { TextEnd } from "../../test/support/text-stream.ts";
import { SeededRandom } from "../base/clock.ts";
import type { Snapshot } from "../policy/snapshot.ts";

const SEEDS = 12;
const GET = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const POST = `POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3000\r\n\r\n${"x".repeat(3000)}`;
const CHUNKED = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

const route = forwardRoute({
  timeoutMs: 800,
  retry: {
    attempts: 2,
    perTryTimeoutMs: 200,
    on: ["5xx", "connect-failure"],
    statusCodes: [],
    backoffBaseMs: 25,
  },
});
const limits = {
  ...cluster().limits,
  maxConnections: 5,
  maxPendingRequests: 20,
  maxRequestsPerConnection: 3,
};
const outlier = {
  consecutive5xx: 3,
  consecutiveGatewayErrors: 0,
  intervalMs: 1000,
  baseEjectionMs: 300,
  maxEjectionPercent: 50,
  minHealthPercent: 0,
};
const dead = endpoint(1, { address: "10.0.0.9", id: "10.0.0.9:8080" });

const view = (version: number, endpoints: readonly number[]): Partial<Snapshot> => ({
  version,
  workloads: [workload("client")],
  services: [service({}, [route])],
  clusters: [cluster({ endpoints, limits, outlier })],
  endpoints: [endpoint(0), dead],
});

function misbehave(end: TextEnd, mesh: MeshFixture, random: SeededRandom): void {
  if (!end.text.includes("\r\n\r\n")) return;
  end.take();
  const moods = [
    () => end.stream?.reset(),
    () => {
      end.send("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\npart");
      end.end();
    },
    () => end.send("HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n"),
    () => {},
    () => end.send("nonsense\r\n\r\n"),
    () => {
      end.send("HTTP/1.1 200 OK\r\n\r\nuntil close");
      end.end();
    },
  ];
  const well = () => mesh.clock.after(random.unit() * 100, () => end.send(CHUNKED));
  (moods[Math.floor(random.unit() * 10)] ?? well)();
}

function run(seed: number): void {
  const mesh = new MeshFixture({ seed, network: { splits: true, windowBytes: 2048 } });
  const random = new SeededRandom(seed);
  mesh.swapClient(view(1, [0, 1]));
  mesh.server.network.listen(8080, (stream) => {
    const end = new TextEnd().attach(stream);
    end.onText = () => misbehave(end, mesh, random);
  });
  const clients: TextEnd[] = [];
  for (let i = 0; i < 60; i++) {
    mesh.clock.after(random.unit() * 2000, () => {
      const client = new TextEnd();
      clients.push(client.attach(mesh.client.dialOut({ address: VIP, port: 80 }, client)));
      for (let n = random.unit() * 4; n > 0; n--) client.send(random.unit() < 0.5 ? GET : POST);
      const leave = () => (random.unit() < 0.5 ? client.stream?.reset() : client.end());
      if (random.unit() < 0.3) mesh.clock.after(random.unit() * 300, leave);
    });
  }
  for (let version = 2; version < 8; version++) {
    mesh.clock.after(version * 300, () => {
      mesh.swapClient(view(version, random.unit() < 0.5 ? [0] : [0, 1]));
      mesh.swapServer({ version });
    });
  }
  mesh.clock.pass(10_000);
  for (const client of clients) client.stream?.reset();
  mesh.clock.pass(2000);
  mesh.client.plane.drain();
  mesh.server.plane.drain();
  mesh.clock.pass(1000);
  expect(mesh.bugs).toEqual([]);
  expect(mesh.client.plane.openConnections + mesh.server.plane.openConnections).toBe(0);
  const slots = [0, 10, 11, 12, 13, 100, 105].map((slot) => mesh.client.slots.read(slot));
  expect(slots).toEqual([0, 0, 0, 0, 0, 0, 0]);
}

test("whatever goes wrong, in whatever order, nothing stays open, counted or caught", () => {
  for (let seed = 1; seed <= SEEDS; seed++) run(seed);
});
