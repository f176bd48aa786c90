// Limits hold per agent: four data planes that share their slots, as an agent's threads do, count as one.
import { expect, test } from "bun:test";
import {
  cluster,
  endpoint,
  Host,
  MeshFixture,
  snapshot,
  VIP,
  workload,
} from "../../test/support/mesh-fixture.ts";
import { TextEnd } from "../../test/support/text-stream.ts";
import { SharedSlots } from "../base/slots.ts";
import type { Cluster } from "../policy/snapshot.ts";

const GET = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

function fourThreads(changes: Partial<Cluster>, config = {}) {
  const mesh = new MeshFixture();
  const slots = new SharedSlots(new SharedArrayBuffer(4096));
  const threads = [1, 2, 3, 4].map((seed) => {
    const thread = new Host(mesh.fabric, "10.0.0.1", { seed, slots, config }, mesh.bugs);
    thread.plane.swap(
      snapshot("10.0.0.1", { workloads: [workload("client")], clusters: [cluster(changes)] }),
    );
    return thread;
  });
  const dial = (thread: Host) => {
    const end = new TextEnd();
    return end.attach(thread.dialOut({ address: VIP, port: 80 }, end));
  };
  return { mesh, slots, threads, dial };
}

const answerOnce = (app: TextEnd): void => app.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");

test("maxConnections and maxPendingRequests hold over all threads, and a freed connection serves another thread", () => {
  const limits = { ...cluster().limits, maxConnections: 2, maxPendingRequests: 2 };
  const { mesh, slots, threads, dial } = fourThreads({ limits });
  const apps: TextEnd[] = [];
  mesh.server.network.listen(8080, (stream) => {
    const app = new TextEnd().attach(stream);
    if (apps.push(app) > 2) app.onText = () => answerOnce(app);
  });
  const clients = threads.flatMap((thread) => [dial(thread), dial(thread)]);
  for (const client of clients) client.send(GET);
  mesh.clock.pass(100);
  expect(apps).toHaveLength(2);
  expect(clients.filter((c) => c.text.startsWith("HTTP/1.1 503")).length).toBe(4);
  for (const app of apps) app.onText = () => answerOnce(app);
  for (const app of apps) answerOnce(app);
  mesh.clock.pass(1000); // no thread closes on its own: the waiting ones must be given way
  expect(clients.filter((c) => c.text.startsWith("HTTP/1.1 200")).length).toBe(4);
  expect([10, 11, 12, 13].map((slot) => slots.read(slot))).toEqual([expect.any(Number), 0, 0, 0]);
  expect(slots.read(10)).toBeLessThanOrEqual(2);
  expect(mesh.bugs).toEqual([]);
});

test("failures that four threads saw one each of eject together", () => {
  const outlier = {
    consecutive5xx: 4,
    consecutiveGatewayErrors: 0,
    intervalMs: 10_000,
    baseEjectionMs: 30_000,
    maxEjectionPercent: 100,
    minHealthPercent: 0,
  };
  const { mesh, slots, threads, dial } = fourThreads({ outlier });
  mesh.server.network.listen(8080, (stream) => {
    const end = new TextEnd().attach(stream);
    end.onText = () => end.send("HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n");
  });
  for (const thread of threads) {
    expect(slots.read(endpoint(0).slots.ejectedUntilMs)).toBe(0);
    dial(thread).send(GET);
    mesh.clock.pass(100);
  }
  expect(slots.read(endpoint(0).slots.ejectedUntilMs)).not.toBe(0);
});

test("the agent's own cap on connections counts all threads", () => {
  const { mesh, threads, dial } = fourThreads({}, { connectionsMax: 4 });
  const clients = threads.flatMap((thread) => [dial(thread), dial(thread)]);
  mesh.clock.pass(100);
  expect(clients.filter((c) => c.closed !== undefined)).toHaveLength(4);
});
