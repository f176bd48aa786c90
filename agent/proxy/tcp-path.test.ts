import { describe, expect, test } from "bun:test";
import type { MemoryStream } from "../../test/support/memory-stream.ts";
import {
  cluster,
  endpoint,
  MeshFixture,
  serverWorkload,
  service,
  VIP,
  workload,
} from "../../test/support/mesh-fixture.ts";
import { TextEnd } from "../../test/support/text-stream.ts";
import type { Protocol } from "../policy/snapshot.ts";

const TO = { address: VIP, port: 80 };

function meshOf(protocol: Protocol, config = {}, oldWire: readonly string[] = []): MeshFixture {
  const mesh = new MeshFixture({ config, oldWire });
  const ports = service().ports.map((port) => ({ ...port, protocol }));
  mesh.swapClient({ services: [service({ ports })] });
  const inbound = serverWorkload().ports.map((port) => ({ ...port, protocol }));
  mesh.swapServer({ workloads: [serverWorkload({ ports: inbound })] });
  return mesh;
}

function app(mesh: MeshFixture, speak: (end: TextEnd) => void): TextEnd[] {
  const ends: TextEnd[] = [];
  mesh.server.network.listen(8080, (stream) => {
    const end = new TextEnd().attach(stream);
    ends.push(end);
    speak(end);
  });
  return ends;
}

function dial(mesh: MeshFixture): TextEnd {
  const end = new TextEnd();
  return end.attach(mesh.client.dialOut(TO, end));
}

function settle(mesh: MeshFixture, ms = 200): void {
  mesh.clock.pass(ms);
  expect(mesh.bugs).toEqual([]);
}

const echo = (end: TextEnd): void => {
  end.onText = () => end.send(end.take());
};

describe("opaque connections", () => {
  test("carry bytes both ways over the mesh, and are counted at both ends", () => {
    const mesh = meshOf("tcp");
    app(mesh, echo);
    const client = dial(mesh);
    client.send("anything at all");
    settle(mesh);
    expect(client.text).toBe("anything at all");
    client.end();
    settle(mesh);
    for (const host of [mesh.client, mesh.server]) {
      expect(host.count("istio_tcp_connections_opened_total")).toBe(1);
    }
  });

  test("the end of one direction is passed on and the other stays open", () => {
    const mesh = meshOf("tcp");
    const apps = app(mesh, () => {});
    const client = dial(mesh);
    client.send("question");
    client.end();
    settle(mesh);
    expect(apps[0]?.text).toBe("question");
    expect(apps[0]?.hasEnded).toBe(true);
    apps[0]?.send("late answer");
    apps[0]?.end();
    settle(mesh);
    expect(client.text).toBe("late answer");
    expect(mesh.client.plane.openConnections + mesh.server.plane.openConnections).toBe(0);
    expect(mesh.client.count("istio_tcp_sent_bytes_total")).toBe("late answer".length);
    expect(mesh.client.count("istio_tcp_received_bytes_total")).toBe("question".length);
  });

  test("a reset is passed on as a reset", () => {
    const mesh = meshOf("tcp");
    const apps = app(mesh, () => {});
    const client = dial(mesh);
    client.send("x");
    settle(mesh);
    apps[0]?.stream?.reset();
    settle(mesh);
    expect(client.closed).toEqual({ is: "failed", code: "ECONNRESET" });
    expect(mesh.client.slots.read(10)).toBe(0);
  });

  test("an endpoint that refuses is passed over", () => {
    const mesh = meshOf("tcp");
    app(mesh, echo);
    const ports = service().ports.map((port) => ({ ...port, protocol: "tcp" as const }));
    const dead = endpoint(1, { address: "10.0.0.9", id: "10.0.0.9:8080" });
    mesh.swapClient({
      services: [service({ ports })],
      clusters: [cluster({ endpoints: [0, 1] })],
      endpoints: [endpoint(0), dead],
    });
    for (let i = 0; i < 4; i++) {
      const client = dial(mesh);
      client.send("hi");
      settle(mesh);
      expect(client.text).toBe("hi");
    }
  });

  test("with nobody there the client is reset", () => {
    const mesh = meshOf("tcp");
    mesh.server.network.unlisten(15008);
    const client = dial(mesh);
    settle(mesh);
    expect(client.closed).toEqual({ is: "failed", code: "ECONNRESET" });
    expect(mesh.client.count("istio_tcp_connections_closed_total", { response_flags: "UF" })).toBe(
      1,
    );
    expect(mesh.client.slots.read(10)).toBe(0);
  });

  test("an idle one is cut after tcpIdleTimeoutMs, a used one is not", () => {
    const mesh = meshOf("tcp", { tcpIdleTimeoutMs: 1000 });
    app(mesh, echo);
    const client = dial(mesh);
    for (let i = 0; i < 5; i++) {
      client.send("x");
      settle(mesh, 600);
    }
    expect(client.closed).toBeUndefined();
    settle(mesh, 1500);
    expect(client.closed?.is).toBe("failed");
  });

  test("one that a new policy does not admit is cut by the swap", () => {
    const mesh = meshOf("tcp");
    app(mesh, echo);
    const client = dial(mesh);
    client.send("x");
    settle(mesh);
    const ports = serverWorkload().ports.map((port) => ({ ...port, protocol: "tcp" as const }));
    const authorization = { deny: [], allow: [{ policy: "default/nobody", rules: [] }] };
    mesh.swapServer({ workloads: [serverWorkload({ ports, authorization })] });
    settle(mesh);
    expect(client.closed).toEqual({ is: "failed", code: "ECONNRESET" });
    const again = dial(mesh);
    again.send("x");
    settle(mesh);
    expect(again.closed?.is).toBe("failed");
  });

  test("a fast sender is slowed to what a slow reader takes, and nothing piles up here", () => {
    const mesh = meshOf("tcp");
    const apps = app(mesh, (end) => end.stream?.pause());
    const client = dial(mesh);
    const piece = new Uint8Array(1 << 20);
    client.send(piece);
    settle(mesh, 1000);
    expect(mesh.client.count("istio_tcp_received_bytes_total")).toBeLessThan(400_000);
    apps[0]?.stream?.resume();
    settle(mesh, 2000);
    expect(apps[0]?.bytesReceived).toBe(1 << 20);
  });
});

test("a connection whose protocol was looked at, and that nobody takes, is refused once", () => {
  const mesh = meshOf("auto");
  const ports = service().ports.map((port) => ({ ...port, protocol: "auto" as const }));
  mesh.swapClient({ services: [service({ ports })], clusters: [cluster({ endpoints: [] })] });
  for (const text of ["EHLO me\r\n", "G"]) {
    const client = dial(mesh);
    client.send(text);
    settle(mesh, 1500);
    expect(client.closed).toEqual({ is: "failed", code: "ECONNRESET" });
  }
  const reason = "no_healthy_upstream";
  expect(mesh.client.count("ironmesh_connections_refused_total", { reason })).toBe(2);
});

describe("an end that nobody said", () => {
  /** The connection between the two agents, whose directions somebody on the way ends. */
  const watched = (oldWire: readonly string[] = []) => {
    const mesh = meshOf("tcp", {}, oldWire);
    const listener = mesh.fabric.mesh.get("10.0.0.2:15008");
    if (listener === undefined) throw new Error("the fixture listens");
    let under: MemoryStream | undefined;
    mesh.server.network.listenMesh(15008, {
      ...listener,
      accept: (stream) => {
        under = stream as MemoryStream;
        listener.accept(stream);
      },
    });
    const apps = app(mesh, () => {});
    const client = dial(mesh);
    client.send("question");
    settle(mesh);
    expect(apps[0]?.text).toBe("question");
    const forge = (towards: "client" | "server"): void => {
      if (towards === "client") under?.endWrite();
      else under?.suffer({ is: "peer_ends" });
      settle(mesh);
    };
    return { mesh, client, app: apps[0] as TextEnd, forge };
  };
  const CUT = { is: "failed", code: "ECONNRESET" } as const;

  for (const towards of ["client", "server"] as const) {
    test(`towards the ${towards}'s agent is a reset to app and client, and counted`, () => {
      const { mesh, client, app: end, forge } = watched();
      end.send("half of the ans");
      settle(mesh);
      forge(towards);
      expect([client.text, client.hasEnded, end.hasEnded]).toEqual([
        "half of the ans",
        false,
        false,
      ]);
      expect([client.closed, end.closed]).toEqual([CUT, CUT]);
      const cut = "ironmesh_mesh_opaque_cut_total";
      expect(mesh.client.count(cut) + mesh.server.count(cut)).toBeGreaterThan(0);
      expect(mesh.client.plane.openConnections + mesh.server.plane.openConnections).toBe(0);
    });
  }

  test("after the client's own end is a reset too, not an answer that looks whole", () => {
    const { mesh, client, app: end, forge } = watched();
    client.end();
    settle(mesh);
    expect(end.hasEnded).toBe(true);
    end.send("half of the ans");
    settle(mesh);
    forge("client");
    expect([client.closed, client.hasEnded]).toEqual([CUT, false]);
  });

  test("cannot be told from a real one where a peer knows the older wire alone, and both say so", () => {
    for (const old of ["10.0.0.1", "10.0.0.2"]) {
      const { mesh, client, app: end, forge } = watched([old]);
      end.send("answer");
      settle(mesh);
      expect(client.text).toBe("answer");
      forge("client");
      expect(client.hasEnded).toBe(true);
      const upgraded = old === "10.0.0.1" ? mesh.server : mesh.client;
      expect(upgraded.count("ironmesh_mesh_old_wire_total")).toBe(1);
    }
  });
});

describe("detection", () => {
  test("HTTP on an undeclared port is carried as HTTP", () => {
    const mesh = meshOf("auto");
    app(mesh, (end) => {
      end.onText = () => end.send("HTTP/1.1 204 No Content\r\n\r\n");
    });
    const client = dial(mesh);
    for (const byte of "GET / HTTP/1.1\r\nhost: a\r\n\r\n") {
      client.send(byte);
      mesh.clock.pass(3);
    }
    settle(mesh);
    expect(client.text).toStartWith("HTTP/1.1 204");
    expect(mesh.server.count("istio_requests_total")).toBe(1);
  });

  test("anything else is carried opaque, from its first byte", () => {
    const mesh = meshOf("auto");
    app(mesh, echo);
    const client = dial(mesh);
    client.send("\u0000\u0001 hello");
    settle(mesh);
    expect(client.text).toBe("\u0000\u0001 hello");
  });

  test("a client that waits for the server is carried opaque after detectTimeoutMs, once", () => {
    const mesh = meshOf("auto");
    app(mesh, (end) => end.send("220 ready\r\n"));
    const client = dial(mesh);
    settle(mesh, 980);
    expect(client.text).toBe("");
    settle(mesh, 60);
    expect(client.text).toBe("220 ready\r\n");
    const next = dial(mesh);
    settle(mesh, 20);
    expect(next.text).toBe("220 ready\r\n");
  });

  test("a client that is silent at a server that is too teaches nobody that the port is opaque", () => {
    const mesh = meshOf("auto");
    let heard = "";
    app(mesh, (end) => {
      end.onText = () => {
        heard = end.text;
      };
    });
    dial(mesh);
    settle(mesh, 1_100);
    const late = dial(mesh);
    settle(mesh, 20);
    late.send("GET / HTTP/1.1\r\nhost: server\r\n\r\n");
    settle(mesh);
    expect(heard).toContain("x-request-id");
  });

  test("a port that is taken for one whose server speaks first is looked at again once a client does", () => {
    const mesh = meshOf("auto");
    let speaksFirst = true;
    const heard: string[] = [];
    app(mesh, (end) => {
      if (speaksFirst) end.send("220 ready\r\n");
      else end.onText = () => heard.push(end.text);
    });
    dial(mesh);
    settle(mesh, 1_100);
    speaksFirst = false;
    const get = "GET / HTTP/1.1\r\nhost: server\r\n\r\n";
    for (let i = 0; i < 2; i++) {
      dial(mesh).send(get);
      settle(mesh);
    }
    expect(heard[0]).toBe(get);
    expect(heard[1]).toContain("x-request-id");
  });
});

describe("strangers", () => {
  test("allow_any passes them through in the clear, registry_only resets them", () => {
    const mesh = new MeshFixture();
    const outside = mesh.fabric.host("9.9.9.9");
    outside.listen(22, (stream) => echo(new TextEnd().attach(stream)));
    const dialStranger = () => {
      const end = new TextEnd();
      end.attach(mesh.client.dialOut({ address: "9.9.9.9", port: 22 }, end));
      end.send("ssh");
      settle(mesh);
      return end;
    };
    expect(dialStranger().text).toBe("ssh");
    mesh.swapClient({ outboundPolicy: "registry_only" });
    expect(dialStranger().closed?.is).toBe("failed");
  });

  test("a Host that names one of ours is routed, another passes through as HTTP", () => {
    const mesh = new MeshFixture();
    mesh.server.network.listen(8080, (stream) => {
      const end = new TextEnd().attach(stream);
      end.onText = () => end.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nmesh");
    });
    mesh.fabric.host("9.9.9.9").listen(80, (stream) => {
      const end = new TextEnd().attach(stream);
      end.onText = () => end.send("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\noutside");
    });
    for (const [host, answer] of [
      ["server.default", "mesh"],
      ["example.com", "outside"],
    ]) {
      const end = new TextEnd();
      end.attach(mesh.client.dialOut({ address: "9.9.9.9", port: 80 }, end));
      end.send(`GET / HTTP/1.1\r\nhost: ${host}\r\n\r\n`);
      settle(mesh);
      expect(end.text).toEndWith(answer ?? "");
    }
    const requests = (name: string) =>
      mesh.client.count("istio_requests_total", { destination_service_name: name });
    expect([requests("server"), requests("PassthroughCluster")]).toEqual([1, 1]);
  });

  test("a process of no workload has the host's identity", () => {
    const mesh = new MeshFixture();
    const identities: (string | undefined)[] = [];
    mesh.server.network.listenMesh(15008, {
      identityOf: () => "spiffe://mesh/ns/default/sa/server",
      accept: (stream) => identities.push(stream.mesh?.identity),
    });
    for (const who of ["none", 0] as const) {
      const end = new TextEnd();
      end.attach(mesh.client.dialOut(TO, end, who));
      end.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
      settle(mesh);
    }
    expect(identities).toEqual([
      "spiffe://mesh/ns/ironmesh-system/sa/host.10.0.0.1",
      workload("client").identity,
    ]);
  });
});
