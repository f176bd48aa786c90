// A workload's port is its own on every address of its host: a process there must not find one that leads past the policy.
import { expect, test } from "bun:test";
import { answering, app, GET, ok, settle } from "../../test/support/http-conversation.ts";
import { MeshFixture, serverWorkload, VIP } from "../../test/support/mesh-fixture.ts";
import { TextEnd } from "../../test/support/text-stream.ts";

const NOBODY = { deny: [], allow: [{ policy: "default/nobody", rules: [] }] };

function guarded(localAddresses: readonly string[]): MeshFixture {
  const mesh = new MeshFixture({ localAddresses });
  mesh.swapServer({ workloads: [serverWorkload({ authorization: NOBODY })] });
  app(
    mesh,
    answering(() => ok()),
  );
  return mesh;
}

function askOnServer(mesh: MeshFixture, address: string): TextEnd {
  const end = new TextEnd();
  end.attach(mesh.server.dialOut({ address, port: 8080 }, end, "none"));
  end.send(GET);
  settle(mesh);
  return end;
}

test("an address of the host that no snapshot names is guarded like the others", () => {
  const mesh = guarded(["10.99.0.1"]);
  for (const address of ["127.0.0.1", "10.0.0.2", "10.99.0.1"])
    expect([address, askOnServer(mesh, address).take().slice(0, 13)]).toEqual([
      address,
      "HTTP/1.1 403 ",
    ]);
});

test("a port that is declared here and known at no address of this host is refused", () => {
  const mesh = guarded(["10.99.0.1"]);
  mesh.swapServer({ workloads: [serverWorkload({ authorization: NOBODY })], endpoints: [] });
  const end = askOnServer(mesh, "10.99.0.1");
  expect([end.take(), end.closed !== undefined]).toEqual(["", true]);
  expect(mesh.server.count("ironmesh_connections_refused_total", { reason: "not_declared" })).toBe(
    1,
  );
});

test("a virtual address is refused where it is no service: the kernel would deliver it to this host", () => {
  const mesh = guarded([]);
  for (const address of ["240.240.9.9", "240.240.0.1", "2001:2::99"]) {
    const end = askOnServer(mesh, address);
    expect([address, end.take(), end.closed !== undefined]).toEqual([address, "", true]);
  }
  expect(mesh.server.count("ironmesh_connections_refused_total", { reason: "no_service" })).toBe(3);
});

test("an open connection whose service goes away gets 404, and is not carried on to this host", () => {
  const mesh = guarded([]);
  const end = new TextEnd();
  end.attach(mesh.client.dialOut({ address: VIP, port: 80 }, end));
  mesh.swapClient({ services: [], clusters: [] });
  end.send(GET);
  settle(mesh);
  expect(end.take()).toStartWith("HTTP/1.1 404 ");
});
