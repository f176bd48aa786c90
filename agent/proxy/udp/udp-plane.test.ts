import { describe, expect, test } from "bun:test";
import { MemoryDatagrams } from "../../../test/support/memory-datagrams.ts";
import { CLIENT_ID, SERVER_ID, VIP } from "../../../test/support/mesh-fixture.ts";
import { DENIED, UdpMesh } from "../../../test/support/udp-mesh.ts";
import type { RateLimit } from "../../policy/snapshot.ts";
import { UDP_BOUNDS } from "./udp-context.ts";

describe("a flow", () => {
  test("carries each datagram as one, answers come from where it was sent to, and its end is one line at both ends", () => {
    const mesh = new UdpMesh();
    for (const text of ["one", "", "three"]) mesh.say(text);
    mesh.settle();
    expect(mesh.texts()).toEqual(["one", "", "three"]);
    expect(mesh.atClient.answers).toEqual(
      ["one", "", "three"].map((text) => `${VIP}:80 re ${text}`),
    );
    const onWire = mesh.cable.sent.filter(({ path }) => path.includes(":15008"));
    expect(onWire).toHaveLength(6);
    for (const { bytes } of onWire)
      expect(new TextDecoder("latin1").decode(bytes)).not.toContain("one");
    mesh.settle(UDP_BOUNDS.flowIdleMs * 1.5);
    for (const host of [mesh.client, mesh.server]) {
      expect(host.count("ironmesh_udp_received_datagrams_total")).toBe(3);
      expect(host.count("ironmesh_udp_sent_bytes_total")).toBe(17);
      expect(host.count("ironmesh_udp_flows_closed_total", { response_flags: "-" })).toBe(1);
      expect(host.records()).toEqual([
        expect.objectContaining({
          protocol: "UDP",
          datagrams_received: 3,
          datagrams_sent: 3,
          downstream_peer_identity: CLIENT_ID,
        }),
      ]);
    }
    expect(mesh.client.slots.read(10)).toBe(0);
  });

  test("goes on while somebody speaks, ends when nobody does, and the app sees another one then", () => {
    const mesh = new UdpMesh({ flowIdleMs: 1_000 });
    for (let i = 0; i < 8; i++) {
      mesh.say("still");
      mesh.settle(700);
    }
    mesh.settle(3_000);
    mesh.say("anew");
    mesh.settle();
    const ports = mesh.atApp.map((line) => line.split(" ")[0]);
    expect(new Set(ports.slice(0, 8)).size).toBe(1);
    expect(ports[8]).not.toBe(ports[0]);
  });

  test("keeps the newest datagrams while its session is dialled, and counts what it had to drop", () => {
    const mesh = new UdpMesh({ queueMax: 4 });
    for (let i = 0; i < 10; i++) mesh.say(`${i}`);
    mesh.settle();
    expect(mesh.texts()).toEqual(["6", "7", "8", "9"]);
    expect(mesh.dropped("queue_full")).toBe(6);
  });

  test("gives its place to a new one when its workload has as many as it may", () => {
    const mesh = new UdpMesh({ flowsMax: 2 });
    for (const port of [1, 2, 3]) {
      mesh.say("x", port);
      mesh.settle();
    }
    expect(mesh.client.count("ironmesh_udp_flows_opened_total")).toBe(3);
    expect(mesh.client.count("ironmesh_udp_flows_closed_total")).toBe(1);
  });

  test("that nobody's policy admits reaches nobody; it is one decision, and goes on when a new policy admits it", () => {
    const mesh = new UdpMesh();
    mesh.declare(DENIED);
    for (let i = 0; i < 5; i++) {
      mesh.say("please");
      mesh.settle();
    }
    expect(mesh.atApp).toEqual([]);
    expect(mesh.dropped("denied")).toBe(5);
    expect(mesh.server.records()).toEqual([
      expect.objectContaining({ protocol: "UDP", decision_id: expect.any(String) }),
    ]);
    mesh.declare();
    mesh.say("thanks");
    mesh.settle();
    expect(mesh.texts()).toEqual(["thanks"]);
    mesh.declare(DENIED);
    mesh.say("again");
    mesh.settle();
    expect(mesh.texts()).toEqual(["thanks"]);
    expect(mesh.server.records()).toHaveLength(2);
  });

  test("to a mesh endpoint is dropped and counted where nothing can be sealed, and the endpoint is not to blame", () => {
    const mesh = new UdpMesh();
    mesh.atClient.canSeal = false;
    for (let i = 0; i < 20; i++) mesh.say("secret");
    mesh.settle();
    expect([mesh.texts(), mesh.sessions, mesh.dropped("cannot_seal")]).toEqual([[], 0, 20]);
    mesh.atClient.canSeal = true;
    mesh.say("sealed");
    mesh.settle();
    expect(mesh.texts()).toEqual(["sealed"]);
  });

  test("ends when nobody declares its destination any more", () => {
    const mesh = new UdpMesh();
    mesh.say("last");
    mesh.settle();
    mesh.swapClient({});
    mesh.caller.swap();
    mesh.say("nobody's");
    mesh.settle();
    expect(mesh.texts()).toEqual(["last"]);
    expect(mesh.dropped("not_declared")).toBe(1);
    expect(mesh.client.records()).toHaveLength(1);
  });
});

describe("between hosts", () => {
  test("loss and delay of one datagram keep no other waiting, and what comes late is still taken", () => {
    const mesh = new UdpMesh();
    mesh.say("first");
    mesh.settle();
    let count = 0;
    mesh.cable.fate = () => ([false, 150] as const)[count++] ?? true;
    for (const text of ["lost", "late", "prompt"]) mesh.say(text);
    mesh.settle(20);
    expect(mesh.texts()).toEqual(["first", "prompt"]);
    mesh.settle();
    expect(mesh.texts()).toEqual(["first", "prompt", "late"]);
  });

  test("a datagram that comes twice, is altered, or is of another session, is dropped and counted", () => {
    const mesh = new UdpMesh();
    mesh.say("once");
    mesh.settle();
    const first = mesh.cable.sent.find(({ path }) => path.endsWith(":15008"));
    if (first === undefined) throw new Error("nothing was sent");
    mesh.cable.deliver(first);
    const altered = first.bytes.slice();
    altered[altered.length - 1] = (altered[altered.length - 1] as number) ^ 1;
    altered[7] = 9;
    mesh.cable.deliver({ ...first, bytes: altered });
    mesh.cable.deliver({ ...first, bytes: first.bytes.subarray(0, 11) });
    mesh.settle();
    expect(mesh.texts()).toEqual(["once"]);
    expect([mesh.dropped("replayed"), mesh.dropped("forged")]).toEqual([1, 2]);
    mesh.caller.renewed(new Set([CLIENT_ID]));
    // The first one after it goes by the old keys, and has new ones made.
    for (const text of ["anew", "newer"]) {
      mesh.say(text);
      mesh.settle();
    }
    const path = mesh.cable.sent.findLast((one) => one.path.endsWith(":15008"))?.path ?? "";
    expect(path).not.toBe(first.path);
    const other = mesh.cable.sent.findLast((one) => one.path === first.path);
    mesh.cable.deliver({ path, bytes: other?.bytes ?? first.bytes });
    mesh.settle();
    expect(mesh.dropped("forged")).toBe(3);
    expect(mesh.texts()).toEqual(["once", "anew", "newer"]);
  });

  for (const [who, identity] of [
    ["caller's", CLIENT_ID],
    ["called one's", SERVER_ID],
  ] as const)
    test(`keys change with the ${who} certificate, and no datagram is lost for it`, () => {
      const mesh = new UdpMesh();
      mesh.say("before");
      mesh.settle();
      const plane = identity === CLIENT_ID ? mesh.caller : mesh.called;
      plane.renewed(new Set([identity]));
      for (let i = 0; i < 20; i++) {
        mesh.say(`${i}`);
        mesh.settle(2);
      }
      mesh.settle();
      expect(mesh.texts().toSorted()).toEqual(
        ["before", ...Array.from({ length: 20 }, (_, i) => `${i}`)].toSorted(),
      );
      expect(mesh.sessions).toBe(2);
      expect(mesh.atClient.answers).toHaveLength(21);
      const ports = (): number =>
        mesh.cable.sockets
          .keys()
          .filter((path) => path.includes("15008"))
          .toArray().length;
      mesh.settle(UDP_BOUNDS.lingerMs + 500);
      expect(ports()).toBe(2);
    });

  test("a peer that starts anew is dialled anew, and the flow goes on", () => {
    const mesh = new UdpMesh();
    mesh.say("before");
    mesh.settle();
    mesh.called.close();
    mesh.settle();
    mesh.say("after");
    mesh.settle();
    expect(mesh.texts()).toEqual(["before", "after"]);
    expect(mesh.sessions).toBe(2);
  });

  test("a peer that cannot be reached is not dialled for each datagram", () => {
    const mesh = new UdpMesh();
    mesh.server.network.unlisten(15_008);
    for (let i = 0; i < 20; i++) {
      mesh.say("x");
      mesh.settle(10);
    }
    expect(mesh.dropped("unreachable")).toBe(20);
    expect(mesh.client.count("ironmesh_udp_flows_opened_total")).toBe(0);
    mesh.settle(UDP_BOUNDS.flowIdleMs * 1.5);
    expect(mesh.client.records()).toEqual([expect.objectContaining({ response_flags: "UF" })]);
  });
});

describe("a process that hands over to its successor", () => {
  test("where flows are called from, hears the answers that are under way, and ends its flows with their lines", () => {
    const mesh = new UdpMesh();
    mesh.say("first");
    mesh.settle();
    mesh.cable.fate = ({ path }) => (path.includes(":15008>") ? 900 : true);
    mesh.say("question");
    mesh.settle(100);
    mesh.caller.handOver();
    expect(mesh.atClient.answers).toHaveLength(1);
    mesh.settle(1_000);
    expect(mesh.atClient.answers.at(-1)).toBe(`${VIP}:80 re question`);
    mesh.settle(UDP_BOUNDS.lingerMs * 2);
    expect(mesh.client.records()).toEqual([
      expect.objectContaining({ datagrams_received: 2, datagrams_sent: 2 }),
    ]);
    expect(mesh.client.slots.read(10)).toBe(0);
  });

  test("where flows are called, loses none: callers speak to it until they have keys with the successor", () => {
    const mesh = new UdpMesh();
    mesh.say("0");
    mesh.settle();
    const before = mesh.called;
    mesh.called = mesh.planeOf(mesh.server, new MemoryDatagrams(mesh.cable, "10.0.0.2"));
    before.handOver();
    const count = 1_000;
    for (let i = 1; i < count; i++) {
      mesh.say(`${i}`);
      mesh.settle(1);
    }
    mesh.settle(UDP_BOUNDS.lingerMs * 3);
    const texts = mesh.texts();
    expect(texts.toSorted((a, b) => Number(a) - Number(b))).toEqual(
      Array.from({ length: count }, (_, i) => `${i}`),
    );
    expect(mesh.sessions).toBe(2);
    expect(mesh.atClient.answers).toHaveLength(count);
    expect(mesh.dropped("queue_full") + mesh.dropped("no_flow")).toBe(0);
  });
});

describe("a rate limit", () => {
  const limit = (changes: Partial<RateLimit> = {}): RateLimit => ({
    name: "default/calm:all",
    to: [],
    byIdentity: false,
    byHeader: undefined,
    requests: 10,
    perMs: 1_000,
    burst: 10,
    slot: 800,
    ...changes,
  });
  const limited = (limits: readonly RateLimit[]): UdpMesh => {
    const mesh = new UdpMesh();
    mesh.declare(undefined, limits);
    return mesh;
  };
  const flood = (mesh: UdpMesh, from: number, count = 50): number => {
    const before = mesh.atApp.length;
    for (let i = 0; i < count; i++) mesh.say(`${i}`, from);
    mesh.settle(90);
    return mesh.atApp.length - before;
  };

  test("lets its burst through and drops and counts the rest, over all flows; a decision says which limit", () => {
    const mesh = limited([limit()]);
    expect(flood(mesh, 5_000) + flood(mesh, 5_001)).toBeLessThanOrEqual(12);
    expect(mesh.atApp.length).toBeGreaterThanOrEqual(10);
    const dropped = 100 - mesh.atApp.length;
    expect(mesh.dropped("rate_limited")).toBe(dropped);
    const by = { limit: "default/calm:all" };
    expect(mesh.server.count("ironmesh_rate_limited_total", by)).toBe(dropped);
    expect(mesh.server.refusals[0]).toMatchObject({ cause: "rate_limit", by: by.limit });
    mesh.settle(1_000);
    expect(flood(mesh, 5_000, 5)).toBe(5);
    mesh.settle(UDP_BOUNDS.flowIdleMs * 1.5);
    expect(mesh.server.records()[0]).toMatchObject({ response_flags: "RL" });
    expect(mesh.server.records()[0]).toHaveProperty("decision_id");
  });

  test("of each identity counts a caller's flows together, in a bucket of its own", () => {
    const mesh = limited([limit({ byIdentity: true })]);
    expect(flood(mesh, 5_000)).toBe(10);
    expect(flood(mesh, 5_001)).toBeLessThanOrEqual(1);
  });

  test("of an operation counts datagrams where it names their port and nothing else", () => {
    expect(flood(limited([limit({ to: [{ ports: [8080] }] })]), 5_000)).toBe(10);
    for (const to of [[{ ports: [9] }], [{ ports: [8080], paths: ["/"] }], [{ methods: ["GET"] }]])
      expect(flood(limited([limit({ to })]), 5_000)).toBe(50);
  });
});
