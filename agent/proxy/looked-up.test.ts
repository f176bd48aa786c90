// Endpoints that are host names: what requests and connections do before, while and after these are looked up.
import { expect, test } from "bun:test";
import { dial, GET, ok, settle } from "../../test/support/http-conversation.ts";
import { cluster, endpoint, MeshFixture, service } from "../../test/support/mesh-fixture.ts";
import { TextEnd } from "../../test/support/text-stream.ts";
import type { Cluster, NameLookup, Protocol } from "../policy/snapshot.ts";

const NAME = "db.example";
const ALL: NameLookup = { takes: "all", slots: [200, 205, 210] };
const FIRST: NameLookup = { takes: "first" };
const CONNECT_MS = 1_000;
const [ONE, TWO, THREE] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"] as const;

function meshOf(
  protocol: Protocol,
  lookup: NameLookup = ALL,
  changes: Partial<Cluster> = {},
): MeshFixture {
  const mesh = new MeshFixture({ accessLog: "on" });
  const ports = service().ports.map((port) => ({ ...port, protocol }));
  const limits = { ...cluster().limits, connectTimeoutMs: CONNECT_MS };
  mesh.swapClient({
    services: [service({ ports })],
    clusters: [cluster({ limits, ...changes })],
    endpoints: [endpoint(0, { id: `${NAME}:8080`, address: NAME, mesh: undefined, lookup })],
  });
  return mesh;
}

/** An app at each address, which answers by it; how often each was dialled. */
function appsAt(mesh: MeshFixture, ...addresses: readonly string[]): Map<string, number> {
  const dialled = new Map<string, number>(addresses.map((address) => [address, 0]));
  for (const address of addresses)
    mesh.fabric.host(address).listen(8080, (stream) => {
      const end = new TextEnd().attach(stream);
      dialled.set(address, (dialled.get(address) ?? 0) + 1);
      end.onText = () => {
        const requests = end.take().split("\r\n\r\n").length - 1;
        end.send(requests === 0 ? address : ok(address).repeat(requests));
      };
    });
  return dialled;
}

const hear = (mesh: MeshFixture, ...places: readonly (string | undefined)[]): void =>
  mesh.client.plane.hearNames([{ name: NAME, places, first: places.find((one) => one) }]);

function ask(mesh: MeshFixture, text: string = GET): TextEnd {
  const client = dial(mesh);
  client.send(text);
  return client;
}

const flags = (mesh: MeshFixture): unknown[] =>
  mesh.client.records().map((record) => record["response_flags"]);

test("a first request asks for the name once, waits for the answer, and goes to an address of it", () => {
  const mesh = meshOf("http");
  appsAt(mesh, ONE);
  const clients = [ask(mesh), ask(mesh), ask(mesh)];
  settle(mesh, CONNECT_MS / 2);
  expect(mesh.client.usedNames).toEqual([NAME]);
  expect(clients.map(({ text }) => text)).toEqual(["", "", ""]);
  hear(mesh, ONE);
  settle(mesh);
  expect(clients.map(({ text }) => text)).toEqual([ok(ONE), ok(ONE), ok(ONE)]);
  expect(mesh.client.records().map((one) => one["upstream_host"])).toEqual([
    `${ONE}:8080`,
    `${ONE}:8080`,
    `${ONE}:8080`,
  ]);
  expect([11, 12].map((slot) => mesh.client.slots.read(slot))).toEqual([0, 0]);
});

test("a request for a name that has no answer is refused when a dial would have timed out, with flag UH", () => {
  const mesh = meshOf("http");
  const client = ask(mesh);
  settle(mesh, CONNECT_MS - 100);
  expect(client.text).toBe("");
  settle(mesh, 200);
  expect(client.text).toStartWith("HTTP/1.1 503 ");
  expect(flags(mesh)).toEqual(["UH"]);
  expect([10, 11, 12].map((slot) => mesh.client.slots.read(slot))).toEqual([0, 0, 0]);
});

test("a name that is known to have no address refuses at once, also who waits already", () => {
  const mesh = meshOf("http");
  const waiting = ask(mesh);
  settle(mesh, 50);
  hear(mesh);
  const late = ask(mesh);
  settle(mesh, 50);
  for (const { text } of [waiting, late]) expect(text).toStartWith("HTTP/1.1 503 ");
  expect(flags(mesh)).toEqual(["UH", "UH"]);
});

test("those who wait for a name are bounded as those who wait for a connection are", () => {
  const limits = { ...cluster().limits, connectTimeoutMs: CONNECT_MS, maxPendingRequests: 2 };
  const mesh = meshOf("http", ALL, { limits });
  const clients = [ask(mesh), ask(mesh), ask(mesh)];
  settle(mesh, 50);
  expect(clients.map(({ text }) => text.slice(0, 12)).sort()).toEqual(["", "", "HTTP/1.1 503"]);
  expect(flags(mesh)).toEqual(["UO"]);
});

test("a client that leaves while it waits is not served, and leaves nothing behind", () => {
  for (const protocol of ["http", "tcp"] as const) {
    const mesh = meshOf(protocol);
    const dialled = appsAt(mesh, ONE);
    const client = ask(mesh);
    settle(mesh, 50);
    client.stream?.reset();
    settle(mesh, 50);
    hear(mesh, ONE);
    settle(mesh, 2 * CONNECT_MS);
    expect(dialled.get(ONE)).toBe(0);
    expect(mesh.client.plane.openConnections).toBe(0);
    expect([10, 11, 12].map((slot) => mesh.client.slots.read(slot))).toEqual([0, 0, 0]);
  }
});

test("an opaque connection waits too, and what its client said meanwhile is carried", () => {
  const mesh = meshOf("tcp");
  appsAt(mesh, ONE);
  const client = ask(mesh, "hello");
  settle(mesh, CONNECT_MS / 2);
  expect([client.text, client.closed]).toEqual(["", undefined]);
  hear(mesh, ONE);
  settle(mesh);
  expect(client.text).toBe(ONE);
  expect(mesh.client.count("istio_tcp_connections_opened_total")).toBe(1);
});

test("an opaque connection without an answer is cut when a dial would have timed out, or when there is no address, with UH", () => {
  for (const answer of [() => {}, (mesh: MeshFixture) => hear(mesh)]) {
    const mesh = meshOf("tcp");
    const client = ask(mesh, "hello");
    settle(mesh, CONNECT_MS / 2);
    answer(mesh);
    settle(mesh, CONNECT_MS);
    expect(client.closed).toBeDefined();
    expect(flags(mesh)).toEqual(["UH"]);
    expect([10, 11].map((slot) => mesh.client.slots.read(slot))).toEqual([0, 0]);
    // Now it is known, and nobody waits: the connection is refused before it begins.
    if (mesh.client.plane.context.names.find(NAME) === undefined) continue;
    ask(mesh, "hello");
    settle(mesh, 10);
    const reason = { reason: "no_healthy_upstream" };
    expect(mesh.client.count("ironmesh_connections_refused_total", reason)).toBe(1);
  }
});

test("all addresses are balanced over, one that is gone is used no more, and its idle connections end", () => {
  const mesh = meshOf("http");
  const dialled = appsAt(mesh, ONE, TWO, THREE);
  hear(mesh, ONE, TWO);
  for (let i = 0; i < 4; i++) {
    ask(mesh);
    settle(mesh);
  }
  expect([...dialled]).toEqual([
    [ONE, 1],
    [TWO, 1],
    [THREE, 0],
  ]);
  expect(mesh.client.slots.read(10)).toBe(2);
  hear(mesh, ONE, undefined, THREE);
  settle(mesh);
  expect(mesh.client.slots.read(10)).toBe(1);
  const answers = Array.from({ length: 4 }, () => {
    const client = ask(mesh);
    settle(mesh);
    return client.text;
  });
  expect(answers.sort()).toEqual([ok(ONE), ok(ONE), ok(THREE), ok(THREE)]);
});

test("an address that fails is ejected by its own counters, and the others are not", () => {
  const outlier = {
    consecutive5xx: 1,
    consecutiveGatewayErrors: 1,
    intervalMs: 10_000,
    baseEjectionMs: 60_000,
    maxEjectionPercent: 50,
    minHealthPercent: 0,
  };
  const mesh = meshOf("tcp", ALL, { outlier });
  appsAt(mesh, TWO); // nobody listens at the other
  hear(mesh, ONE, TWO);
  const clients = Array.from({ length: 4 }, () => {
    const client = ask(mesh, "hello");
    settle(mesh);
    return client.text;
  });
  expect(clients).toEqual([TWO, TWO, TWO, TWO]);
  expect([203, 208].map((slot) => mesh.client.slots.read(slot) !== 0)).toEqual([true, false]);
  expect(mesh.client.count("ironmesh_endpoint_ejections_total")).toBe(1);
});

test("a logical name is one endpoint at its first address: new connections follow it, old ones live on", () => {
  const mesh = meshOf("http", FIRST);
  const dialled = appsAt(mesh, ONE, TWO);
  hear(mesh, ONE, TWO);
  const client = ask(mesh);
  settle(mesh);
  hear(mesh, TWO, ONE);
  const again = ask(mesh); // over the pooled connection
  settle(mesh);
  expect([client.text, again.text, dialled.get(TWO)]).toEqual([ok(ONE), ok(ONE), 0]);
  const both = [ask(mesh), ask(mesh)];
  settle(mesh);
  expect(both.map(({ text }) => text).sort()).toEqual([ok(ONE), ok(TWO)]);
});

test("a new snapshot keeps what is known of names, and the connections to their addresses", () => {
  const mesh = meshOf("http");
  const dialled = appsAt(mesh, ONE);
  hear(mesh, ONE);
  ask(mesh);
  settle(mesh);
  const { view } = mesh.client.plane;
  mesh.client.plane.swap({ ...(view as NonNullable<typeof view>).snapshot, version: 2 });
  const client = ask(mesh);
  settle(mesh);
  expect([client.text, dialled.get(ONE)]).toEqual([ok(ONE), 1]);
});

test("use is told again after a while and not at every request; a name that was given up is asked for anew", () => {
  const mesh = meshOf("http");
  appsAt(mesh, ONE);
  hear(mesh, ONE);
  for (let i = 0; i < 5; i++) {
    ask(mesh);
    settle(mesh, 100);
  }
  expect(mesh.client.usedNames).toEqual([NAME]);
  settle(mesh, 30_000);
  ask(mesh);
  settle(mesh);
  expect(mesh.client.usedNames).toEqual([NAME, NAME]);
  mesh.client.plane.hearNames([{ name: NAME, places: undefined, first: undefined }]);
  const client = ask(mesh);
  settle(mesh);
  expect([client.text, mesh.client.usedNames.length]).toEqual(["", 3]);
  hear(mesh, ONE);
  settle(mesh);
  expect(client.text).toBe(ok(ONE));
});
