import { describe, expect, test } from "bun:test";
import { settle } from "../../test/support/http-conversation.ts";
import { Http2End } from "../../test/support/http2-end.ts";
import {
  type FixtureOptions,
  forwardRoute,
  MeshFixture,
  serverWorkload,
  service,
  VIP,
} from "../../test/support/mesh-fixture.ts";
import { CODE } from "../protocol/http2/frame.ts";

const TO = { address: VIP, port: 80 };
const CALL = [
  [":method", "POST"],
  [":scheme", "http"],
  [":path", "/pkg.Service/Method"],
  [":authority", "server"],
  ["content-type", "application/grpc"],
  ["te", "trailers"],
] as const;
const GRPC_HEAD = [
  [":status", "200"],
  ["content-type", "application/grpc"],
] as const;

interface Call {
  readonly mesh: MeshFixture;
  readonly client: Http2End;
  readonly apps: Http2End[];
}

function grpcMesh(options: FixtureOptions = {}): Call {
  const mesh = new MeshFixture(options);
  const [port] = serverWorkload().ports;
  if (port === undefined) throw new Error("the fixture has a port");
  mesh.swapServer({ workloads: [serverWorkload({ ports: [{ ...port, speaks: "http2" }] })] });
  const apps: Http2End[] = [];
  mesh.server.network.listen(8080, (stream) => apps.push(new Http2End("server").attach(stream)));
  const client = new Http2End("client");
  client.attach(mesh.client.dialOut(TO, client));
  settle(mesh, 50);
  client.take();
  return { mesh, client, apps };
}

function begun(
  options: FixtureOptions = {},
  fields: readonly (readonly [string, string])[] = [],
): Call {
  const call = grpcMesh(options);
  call.client.headers(1, [...CALL, ...fields], false);
  call.client.data(1, "\0\0\0\0\x02hi", true);
  settle(call.mesh, 20);
  return call;
}

const counted = ({ mesh }: Call, labels: Record<string, string>) =>
  (["source", "destination"] as const).map((reporter) => {
    const side = reporter === "source" ? mesh.client : mesh.server;
    return side.count("istio_requests_total", { reporter, request_protocol: "grpc", ...labels });
  });

describe("the status of a call", () => {
  test("is read from trailers, and from responses of trailers only, on both sides", () => {
    const call = begun();
    call.apps[0]?.headers(1, GRPC_HEAD, false);
    call.apps[0]?.data(1, "\0\0\0\0\x01x");
    call.apps[0]?.headers(1, [
      ["grpc-status", "9"],
      ["grpc-message", "no"],
    ]);
    settle(call.mesh);
    expect(call.client.take().at(-1)).toBe("HEADERS 1 grpc-status=9 grpc-message=no END");
    expect(counted(call, { response_code: "200", grpc_response_status: "9" })).toEqual([1, 1]);
    call.client.headers(3, CALL);
    settle(call.mesh, 20);
    call.apps[0]?.headers(3, [...GRPC_HEAD, ["grpc-status", "5"]]);
    settle(call.mesh);
    expect(call.client.take()[0]).toStartWith(
      "HEADERS 3 :status=200 content-type=application/grpc grpc-status=5",
    );
    expect(counted(call, { response_code: "200", grpc_response_status: "5" })).toEqual([1, 1]);
  });

  test("of an answer of ours is told in a response of trailers only", () => {
    const denied = grpcMesh();
    const [port] = serverWorkload().ports;
    if (port === undefined) throw new Error("the fixture has a port");
    denied.mesh.swapServer({
      workloads: [
        serverWorkload({
          ports: [{ ...port, speaks: "http2" }],
          authorization: { deny: [], allow: [{ policy: "default/nobody", rules: [] }] },
        }),
      ],
    });
    denied.client.headers(1, CALL);
    settle(denied.mesh);
    const [answer] = denied.client.take();
    expect(answer).toStartWith(
      "HEADERS 1 :status=200 content-type=application/grpc grpc-status=7 grpc-message=RBAC",
    );
    expect(answer).toEndWith(" END");
    expect(answer).toContain("x-ironmesh-decision=");
    expect(counted(denied, { response_code: "200", grpc_response_status: "7" })).toEqual([1, 1]);
  });

  test("of an app that is down is UNAVAILABLE, of a route that is none UNIMPLEMENTED", () => {
    const down = grpcMesh();
    down.mesh.server.network.unlisten(8080);
    down.client.headers(1, CALL);
    settle(down.mesh, 3_000);
    expect(down.client.take()[0]).toContain("grpc-status=14 grpc-message=upstream connect error");
    const none = grpcMesh();
    const uri = { is: "prefix", value: "/other" } as const;
    none.mesh.swapClient({ services: [service({}, [{ ...forwardRoute(), matches: [{ uri }] }])] });
    none.client.headers(1, CALL);
    settle(none.mesh);
    expect(none.client.take()[0]).toContain("grpc-status=12");
  });
});

describe("the deadline of a call", () => {
  test("is kept: DEADLINE_EXCEEDED, and the app hears that nobody waits", () => {
    const call = begun({}, [["grpc-timeout", "300m"]]);
    settle(call.mesh, 200);
    expect(call.client.take()).toEqual([]);
    settle(call.mesh, 200);
    expect(call.client.take()[0]).toContain("grpc-status=4 grpc-message=upstream request timeout");
    expect(call.apps[0]?.take()).toContain(`RST 1 ${CODE.cancel}`);
    expect(counted(call, { grpc_response_status: "4" })).toEqual([1, 1]);
  });

  test("does not lengthen the route's, and one that is none is no deadline", () => {
    const call = grpcMesh();
    call.mesh.swapClient({ services: [service({}, [forwardRoute({ timeoutMs: 100 })])] });
    call.client.headers(1, [...CALL, ["grpc-timeout", "5S"]]);
    settle(call.mesh, 150);
    expect(call.client.take()[0]).toContain("grpc-status=4");
    const open = begun({}, [["grpc-timeout", "soon"]]);
    settle(open.mesh, 10_000);
    expect(open.client.take()).toEqual([]);
  });

  test("a caller that streams may be silent longer than one that owes a body", () => {
    const call = grpcMesh({ config: { bodyTimeoutMs: 1_000, streamIdleTimeoutMs: 60_000 } });
    call.client.headers(1, CALL, false);
    settle(call.mesh, 20_000);
    expect(call.client.take()).toEqual([]);
    call.client.data(1, "\0\0\0\0\0", true);
    settle(call.mesh);
    expect(call.apps[0]?.take().at(-1)).toEndWith("END");
  });
});

test("a call whose status says so before any message is tried again, a bounded number of times", () => {
  const call = begun();
  const answer = (id: number, status: string) => {
    call.apps[0]?.headers(id, [...GRPC_HEAD, ["grpc-status", status]]);
    settle(call.mesh, 300);
  };
  answer(1, "14");
  expect(call.client.take()).toEqual([]);
  const heads = call.apps.flatMap((app) => app.take()).filter((line) => line.startsWith("HEADERS"));
  expect(heads).toHaveLength(2);
  answer(3, "0");
  expect(call.client.take()[0]).toContain("grpc-status=0");
});

describe("the messages of a call", () => {
  const messages = ({ mesh }: Call) =>
    (["source", "destination"] as const).map((reporter) => {
      const side = reporter === "source" ? mesh.client : mesh.server;
      const labels = { reporter, request_protocol: "grpc" };
      return [
        side.count("istio_request_messages_total", labels),
        side.count("istio_response_messages_total", labels),
      ];
    });

  test("are counted while it lasts, on both sides, however they are cut into frames", () => {
    const call = begun();
    expect(messages(call)).toEqual([
      [1, 0],
      [1, 0],
    ]);
    const open = grpcMesh();
    open.client.headers(1, CALL, false);
    for (const piece of ["\0\0\0\0\x02h", "i\0\0", "\0\0\0\x01\0\0\0\x05he", "llo\0"])
      open.client.data(1, piece);
    settle(open.mesh, 20);
    expect(messages(open)).toEqual([
      [3, 0],
      [3, 0],
    ]);
    open.apps[0]?.headers(1, GRPC_HEAD, false);
    open.apps[0]?.data(1, "\0\0\0\0\x01x\0\0\0\0\0\0\0\0\0\x03ab");
    settle(open.mesh, 20);
    expect(messages(open)).toEqual([
      [3, 2],
      [3, 2],
    ]);
    open.apps[0]?.data(1, "c");
    open.client.data(1, "\0\0\0\0", true);
    settle(open.mesh, 20);
    open.apps[0]?.headers(1, [["grpc-status", "0"]]);
    settle(open.mesh);
    expect(messages(open)).toEqual([
      [4, 3],
      [4, 3],
    ]);
    expect(counted(open, { grpc_response_status: "0" })).toEqual([1, 1]);
  });

  test("begin anew with each call on a connection, and count once when a call is tried again", () => {
    const call = begun();
    call.apps[0]?.headers(1, [...GRPC_HEAD, ["grpc-status", "14"]]);
    settle(call.mesh, 300);
    call.apps[0]?.headers(3, GRPC_HEAD, false);
    call.apps[0]?.data(3, "\0\0\0\0\x09cut");
    call.apps[0]?.headers(3, [["grpc-status", "0"]]);
    settle(call.mesh);
    call.client.headers(3, CALL, false);
    call.client.data(3, "\0\0\0\0\x02hi", true);
    settle(call.mesh, 20);
    call.apps[0]?.headers(5, GRPC_HEAD, false);
    call.apps[0]?.data(5, "\0\0\0\0\x01x");
    call.apps[0]?.headers(5, [["grpc-status", "0"]]);
    settle(call.mesh);
    // The called agent carried both tries.
    expect(messages(call)).toEqual([
      [2, 1],
      [3, 1],
    ]);
  });

  test("of a call that was refused, or of what is no gRPC, are none", () => {
    const down = grpcMesh();
    down.mesh.swapClient({ services: [service({}, [forwardRoute()])], endpoints: [] });
    down.client.headers(1, CALL, false);
    down.client.data(1, "\0\0\0\0\x02hi", true);
    settle(down.mesh);
    const plain = grpcMesh();
    plain.client.headers(
      1,
      CALL.filter(([name]) => name !== "content-type"),
      false,
    );
    plain.client.data(1, "\0\0\0\0\x02hi", true);
    settle(plain.mesh, 20);
    plain.apps[0]?.headers(1, [[":status", "200"]], false);
    plain.apps[0]?.data(1, "\0\0\0\0\x01x", true);
    settle(plain.mesh);
    for (const call of [down, plain])
      expect(messages(call)).toEqual([
        [0, 0],
        [0, 0],
      ]);
  });
});
