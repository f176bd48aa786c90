import { describe, expect, test } from "bun:test";
import { answering, app, ask, ok, settle } from "../../test/support/http-conversation.ts";
import {
  Host,
  MeshFixture,
  serverWorkload,
  snapshot,
  workload,
} from "../../test/support/mesh-fixture.ts";
import { TextEnd } from "../../test/support/text-stream.ts";
import { SharedSlots } from "../base/slots.ts";
import type { RateLimit } from "../policy/snapshot.ts";
import { bucketMemory, KeyedBuckets } from "../resilience/keyed-buckets.ts";

const limit = (changes: Partial<RateLimit> = {}): RateLimit => ({
  name: "default/server:all",
  to: [],
  byIdentity: false,
  byHeader: undefined,
  requests: 2,
  perMs: 10_000,
  burst: 2,
  slot: 200,
  ...changes,
});

function limited(rateLimits: readonly RateLimit[], buckets?: KeyedBuckets): MeshFixture {
  const mesh = new MeshFixture(buckets === undefined ? {} : { buckets });
  mesh.swapServer({ workloads: [serverWorkload({ rateLimits })] });
  app(
    mesh,
    answering(() => ok()),
  );
  return mesh;
}

const GET = (fields = "", path = "/a"): string =>
  `GET ${path} HTTP/1.1\r\nhost: server\r\n${fields}\r\n`;
const codes = (mesh: MeshFixture, ...texts: string[]): string[] =>
  texts.map((text) => ask(mesh, text).slice(9, 12));

describe("a rate limit", () => {
  test("answers 429 beyond it, says when to come again, and lets pass from then on", () => {
    const mesh = limited([limit()]);
    expect(codes(mesh, GET(), GET())).toEqual(["200", "200"]);
    const refused = ask(mesh, GET()).toLowerCase();
    expect(refused).toStartWith("http/1.1 429 ");
    expect(refused).toContain("\r\nretry-after: 5\r\n");
    expect(refused).toContain("\r\nx-ratelimit-limit: 2, 2;w=10\r\n");
    expect(refused).toContain("\r\nx-ratelimit-remaining: 0\r\n");
    expect(refused).toContain("\r\nx-ratelimit-reset: 5\r\n");
    expect(refused).toContain("default/server:all");
    settle(mesh, 5_000);
    expect(codes(mesh, GET(), GET())).toEqual(["200", "429"]);
  });

  test("shows as RL in Istio's metric and by its name in our own", () => {
    const mesh = limited([limit()]);
    codes(mesh, GET(), GET(), GET(), GET());
    const flagged = { response_flags: "RL", response_code: "429" };
    expect(mesh.server.count("istio_requests_total", flagged)).toBe(2);
    const named = { limit: "default/server:all" };
    expect(mesh.server.count("ironmesh_rate_limited_total", named)).toBe(2);
  });

  test("counts only the requests it is about", () => {
    const mesh = limited([limit({ to: [{ paths: ["/search*"], methods: ["GET"] }] })]);
    const search = GET("", "/search?q=1");
    expect(codes(mesh, search, search, search, GET(), GET(), GET())).toEqual([
      ...["200", "200", "429"],
      ...["200", "200", "200"],
    ]);
  });

  test("counts nothing of what policy refuses", () => {
    const mesh = limited([limit()]);
    const deny = {
      policy: "default/no",
      rules: [{ from: [], to: [{ paths: ["/no"] }], when: [] }],
    };
    const authorization = { deny: [deny], allow: [] };
    mesh.swapServer({ workloads: [serverWorkload({ rateLimits: [limit()], authorization })] });
    const no = GET("", "/no");
    expect(codes(mesh, no, no, no, GET(), GET(), GET())).toEqual([
      ...["403", "403", "403"],
      ...["200", "200", "429"],
    ]);
  });

  test("by header counts each value by itself, and those without it together", () => {
    const mesh = limited([limit({ byHeader: "x-user" })]);
    const [a, b] = [GET("X-User: a\r\n"), GET("X-User: b\r\n")];
    expect(codes(mesh, a, a, a, b, GET(), GET(), GET(), b)).toEqual([
      ...["200", "200", "429", "200"],
      ...["200", "200", "429", "200"],
    ]);
  });

  test("by identity counts each caller by itself", () => {
    const mesh = limited([limit({ byIdentity: true })]);
    expect(codes(mesh, GET(), GET(), GET())).toEqual(["200", "200", "429"]);
    mesh.swapClient({ workloads: [workload("other")] });
    expect(codes(mesh, GET(), GET(), GET())).toEqual(["200", "200", "429"]);
  });

  test("made-up callers beyond the table share one bucket, and cost no more than that", () => {
    const mesh = limited(
      [limit({ byHeader: "x-user" })],
      new KeyedBuckets([3, 4], bucketMemory(8)),
    );
    const flood = Array.from({ length: 100 }, (_, i) => GET(`X-User: u${i}\r\n`));
    const passed = codes(mesh, ...flood).filter((code) => code === "200").length;
    const elapsedMs = flood.length * 200;
    // Eight of their own, then the shared one at its rate; a place that is free again goes to the next.
    expect(passed).toBeLessThanOrEqual(8 * (1 + elapsedMs / 5_000) + 2 + elapsedMs / 5_000);
    const named = { limit: "default/server:all" };
    expect(mesh.server.count("ironmesh_rate_limit_shared_total", named)).toBeGreaterThan(50);
  });

  test("that refuses leaves the others as they were", () => {
    const both = limit({
      name: "default/server:wide",
      requests: 3,
      burst: 3,
      perMs: 60_000,
      slot: 205,
    });
    const mesh = limited([both, limit({ to: [{ paths: ["/b"] }], requests: 1, burst: 1 })]);
    const b = GET("", "/b");
    expect(codes(mesh, b, b, b, b, GET(), GET(), GET())).toEqual([
      ...["200", "429", "429", "429"],
      ...["200", "200", "429"],
    ]);
  });

  test("stays as full as it was when a snapshot replaces the one it came with", () => {
    const mesh = limited([limit()]);
    expect(codes(mesh, GET(), GET(), GET())).toEqual(["200", "200", "429"]);
    mesh.swapServer({ version: 2, workloads: [serverWorkload({ rateLimits: [limit()] })] });
    expect(codes(mesh, GET())).toEqual(["429"]);
    mesh.swapServer({ version: 3, workloads: [serverWorkload()] });
    expect(codes(mesh, GET())).toEqual(["200"]);
  });
});

test("four threads of an agent count as one", () => {
  const mesh = new MeshFixture();
  app(
    mesh,
    answering(() => ok()),
  );
  const slots = new SharedSlots(new SharedArrayBuffer(4096));
  const buckets = new KeyedBuckets([5, 6], bucketMemory(64));
  const rateLimits = [limit({ requests: 6, burst: 6 }), limit({ slot: 205, byHeader: "x-user" })];
  const threads = [1, 2, 3, 4].map((seed) => {
    const thread = new Host(mesh.fabric, "10.0.0.2", { seed, slots, buckets }, mesh.bugs);
    thread.plane.swap(snapshot("10.0.0.2", { workloads: [serverWorkload({ rateLimits })] }));
    return thread;
  });
  const answers = (user: string): string[] =>
    threads.map((thread) => {
      const client = new TextEnd();
      client.attach(
        thread.arrive(client, { address: "10.9.9.9", to: { address: "10.0.0.2", port: 8080 } }),
      );
      client.send(GET(`x-user: ${user}\r\n`));
      settle(mesh, 20);
      return client.text.slice(9, 12);
    });
  const count = (codes: string[]): number => codes.filter((code) => code === "200").length;
  expect(["a", "b", "c", "d"].map((user) => count(answers(user)))).toEqual([2, 2, 2, 0]);
});
