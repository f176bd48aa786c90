// What gossip says of a host, and what becomes of the requests and connections on their way there.
import { expect, test } from "bun:test";
import { answering, app, dial, GET, ok, settle } from "../../test/support/http-conversation.ts";
import { cluster, endpoint, MeshFixture, service, VIP } from "../../test/support/mesh-fixture.ts";
import { TextEnd } from "../../test/support/text-stream.ts";
import { HEALTH_TURN_SLOT, HOSTS_DOWN_SLOT } from "../base/slots.ts";
import type { Protocol } from "../policy/snapshot.ts";

const SILENT = "10.0.0.9";
const HEALTH = [500, 501];

/** Endpoint 0 is the server's; endpoint 1 takes what is sent and never answers. */
function mesh(protocol: Protocol = "http", hostsUp: readonly number[] = [0, 1]): MeshFixture {
  const made = new MeshFixture();
  const ports = service().ports.map((port) => ({ ...port, protocol }));
  made.swapClient({
    services: [service({ ports })],
    clusters: [cluster({ endpoints: hostsUp })],
    endpoints: [0, 1].map((i) => {
      const plain = endpoint(i, i === 0 ? {} : { address: SILENT, id: `${SILENT}:8080` });
      return { ...plain, host: `vm-${i}`, slots: { ...plain.slots, hostHealth: HEALTH[i] } };
    }),
  });
  app(
    made,
    answering(() => ok()),
  );
  return made;
}

function lower(made: MeshFixture, at: number): void {
  const { slots, plane } = made.client;
  slots.write(HEALTH[at] as number, 1);
  slots.add(HOSTS_DOWN_SLOT, 1);
  slots.add(HEALTH_TURN_SLOT, 1);
  plane.hostsChanged();
}

/** As many as it takes that one is on its way to endpoint 1. */
function ask(made: MeshFixture, request = GET): TextEnd[] {
  return [1, 2].map(() => {
    const client = dial(made);
    client.send(request);
    return client;
  });
}

test("a dial to a host that goes down is given up, and the request served elsewhere at once", () => {
  const made = mesh();
  made.fabric.silent.add(`${SILENT}:15008`);
  const clients = ask(made);
  settle(made, 100);
  expect(clients.map(({ text }) => text).sort()).toEqual(["", ok()]);
  lower(made, 1);
  settle(made, 100);
  expect(clients.map(({ text }) => text)).toEqual([ok(), ok()]);
});

test("a request without an answer is sent again elsewhere when its host goes down, if it may be sent twice", () => {
  for (const [request, hasAnswer] of [
    [GET, true],
    ["POST / HTTP/1.1\r\nhost: server\r\ncontent-length: 0\r\n\r\n", false],
  ] as const) {
    const made = mesh();
    made.fabric.host(SILENT).listenMesh(15008, {
      accept: (stream) => new TextEnd().attach(stream),
      identityOf: () => "spiffe://mesh/ns/default/sa/server",
    });
    const clients = ask(made, request);
    settle(made, 100);
    expect(clients.filter(({ text }) => text === "")).toHaveLength(1);
    lower(made, 1);
    settle(made, 100);
    expect(clients.filter(({ text }) => text === "")).toHaveLength(hasAnswer ? 0 : 1);
  }
});

test("an opaque connection that is still being made goes elsewhere; one that stands stays", () => {
  const made = mesh("tcp");
  made.fabric.silent.add(`${SILENT}:15008`);
  const clients = [1, 2].map(() => {
    const end = new TextEnd();
    return end.attach(made.client.dialOut({ address: VIP, port: 80 }, end));
  });
  for (const client of clients) client.send(GET);
  settle(made, 100);
  lower(made, 1);
  settle(made, 100);
  expect(clients.map(({ text }) => text)).toEqual([ok(), ok()]);
  lower(made, 0);
  settle(made, 100);
  expect(clients.every(({ closed }) => closed === undefined)).toBe(true);
});

test("the only host there is goes on being tried though it is called down, and its answer takes that back", () => {
  const made = mesh("http", [0]);
  lower(made, 0);
  const [client] = ask(made);
  settle(made, 100);
  expect(client?.text).toBe(ok());
  expect(made.client.slots.read(HEALTH[0] as number)).not.toBe(1);
});
