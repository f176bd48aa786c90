import { describe, expect, test } from "bun:test";
import {
  answering,
  app,
  ask,
  dial,
  GET,
  ok,
  settle,
  status,
  withRoute,
} from "../../test/support/http-conversation.ts";
import {
  CLIENT_ID,
  cluster,
  endpoint,
  forwardRoute,
  MeshFixture,
  NO_HEADERS,
  SERVER_ID,
  SERVER_NAME,
  serverWorkload,
  service,
  VIP,
  workload,
} from "../../test/support/mesh-fixture.ts";
import { TextEnd } from "../../test/support/text-stream.ts";
import { ALPN_HTTP } from "./mesh-alpn.ts";

describe("routes", () => {
  test("a rewrite replaces the matched prefix and the authority", () => {
    const uri = { is: "prefix", value: "/a" } as const;
    const route = { ...forwardRoute({ rewrite: { uri: "/new", authority: "other" } }) };
    const mesh = withRoute({ ...route, matches: [{ uri }] });
    const apps = app(mesh, () => undefined);
    ask(mesh, "GET /a/b?c HTTP/1.1\r\nhost: server\r\n\r\n");
    expect(apps[0]?.text).toStartWith("GET /new/b?c HTTP/1.1\r\nhost: other\r\n");
    expect(apps[0]?.text).not.toContain("host: server");
  });

  test("a rewrite by regular expression keeps the query, and no rule breaks the request line", () => {
    const uriRegex = { match: "^/a/(.*)$", rewrite: "/x y/\\1" };
    const mesh = withRoute(forwardRoute({ rewrite: { uriRegex } }));
    const apps = app(mesh, () => undefined);
    ask(mesh, "GET /a/b?c HTTP/1.1\r\nhost: server\r\n\r\n");
    expect(apps[0]?.text).toStartWith("GET /x%20y/b?c HTTP/1.1\r\n");
  });

  test("a rewrite of any text is a request target", () => {
    for (const [uri, target] of [
      ["/\u{1f600}", "/%F0%9F%98%80"],
      ["/\ud83d", "/%EF%BF%BD"],
      ["/a#b", "/a%23b"],
    ] as const) {
      const mesh = withRoute(forwardRoute({ rewrite: { uri } }));
      const apps = app(mesh, () => undefined);
      ask(mesh, "GET / HTTP/1.1\r\nhost: server\r\n\r\n");
      expect(apps[0]?.text).toStartWith(`GET ${target} HTTP/1.1\r\n`);
    }
  });

  test("an id that a route sets is the only one, and one that it removes is not made anew", () => {
    const ids = (edit: Partial<typeof NO_HEADERS.request>): number => {
      const headers = { ...NO_HEADERS, request: { ...NO_HEADERS.request, ...edit } };
      const mesh = withRoute({ ...forwardRoute(), headers });
      const seen: string[] = [];
      mesh.server.network.listenMesh(15008, {
        identityOf: () => SERVER_ID,
        accept: (stream) => {
          const end = new TextEnd().attach(stream);
          end.onText = () => seen.push(end.take());
        },
      });
      ask(mesh);
      expect(seen).toHaveLength(1);
      return seen[0]?.match(/x-request-id: /g)?.length ?? 0;
    };
    expect(ids({ set: [["x-request-id", "mine"]] })).toBe(1);
    expect(ids({ remove: ["x-request-id"] })).toBe(0);
  });

  test("redirects and direct responses are answered here", () => {
    const redirect = withRoute({
      ...forwardRoute(),
      action: { is: "redirect", status: 302, uri: "/there", authority: "else" },
    });
    expect(ask(redirect)).toContain("location: http://else/there\r\n");
    const direct = withRoute({
      ...forwardRoute(),
      action: { is: "direct", status: 418, body: "teapot" },
    });
    expect(ask(direct)).toEndWith("\r\n\r\nteapot");
  });

  test("header operations of route and destination reach the app and the client", () => {
    const edit = { set: [["X-Set", "1"]], add: [["x-add", "2"]], remove: ["x-gone"] } as const;
    const headers = { request: edit, response: edit };
    const mesh = withRoute({ ...forwardRoute(), headers });
    const apps = app(mesh, () => "HTTP/1.1 200 OK\r\nx-gone: 1\r\ncontent-length: 2\r\n\r\nhi");
    const text = ask(mesh, "GET / HTTP/1.1\r\nhost: a\r\nx-set: 0\r\nx-gone: 1\r\n\r\n");
    for (const seen of [apps[0]?.text ?? "", text]) {
      expect(seen).toContain("x-set: 1\r\n");
      expect(seen).toContain("x-add: 2\r\n");
      expect(seen).not.toContain("x-gone");
      expect(seen).not.toContain("x-set: 0");
    }
  });

  test("weights share requests, and a fault aborts or delays the share it names", () => {
    const destinations = [
      { cluster: 0, weight: 90, headers: NO_HEADERS },
      { cluster: undefined, weight: 10, headers: NO_HEADERS },
    ];
    const mesh = withRoute(forwardRoute({ destinations }));
    app(
      mesh,
      answering(() => ok("")),
    );
    const text = ask(mesh, GET.repeat(500), 20_000);
    expect(text.match(/HTTP\/1.1 200/g)?.length).toBeWithin(425, 475);
    const aborting = withRoute(forwardRoute({ fault: { abort: { status: 555, percent: 100 } } }));
    expect(ask(aborting)).toStartWith("HTTP/1.1 555 ");
    const delaying = withRoute(forwardRoute({ fault: { delay: { ms: 500, percent: 100 } } }));
    app(
      delaying,
      answering(() => ok()),
    );
    const client = dial(delaying);
    client.send(GET);
    settle(delaying, 490);
    expect(client.text).toBe("");
    settle(delaying, 100);
    expect(client.text).toBe(ok());
  });
});

describe("limits", () => {
  test("connections beyond maxConnections wait, and what no longer fits in the queue is 503 UO", () => {
    const mesh = new MeshFixture();
    const { limits } = cluster();
    mesh.swapClient({
      clusters: [cluster({ limits: { ...limits, maxConnections: 1, maxPendingRequests: 1 } })],
    });
    const apps = app(mesh, () => undefined);
    const clients = [dial(mesh), dial(mesh), dial(mesh)];
    for (const client of clients) client.send(GET);
    settle(mesh);
    expect(clients.map((c) => c.text.slice(0, 12)).toSorted()).toEqual(["", "", "HTTP/1.1 503"]);
    expect(mesh.client.count("istio_requests_total", { response_flags: "UO" })).toBe(1);
    apps[0]?.send(ok("one"));
    settle(mesh);
    apps[0]?.send(ok("two"));
    settle(mesh);
    expect(clients.map((c) => c.text.slice(-3)).toSorted()).toEqual(["low", "one", "two"]);
    expect([10, 11, 12, 13].map((slot) => mesh.client.slots.read(slot))).toEqual([1, 0, 0, 0]);
  });

  test("maxRequestsPerConnection retires a connection", () => {
    const mesh = new MeshFixture();
    const { limits } = cluster();
    mesh.swapClient({
      clusters: [cluster({ limits: { ...limits, maxRequestsPerConnection: 2 } })],
    });
    app(
      mesh,
      answering(() => ok("")),
    );
    ask(mesh, GET.repeat(6), 2000);
    expect(mesh.server.count("istio_requests_total")).toBe(6);
    expect(mesh.client.slots.read(10)).toBe(0);
  });

  test("more connections than the agent may have are reset and counted", () => {
    const mesh = new MeshFixture({ config: { connectionsMax: 2 } });
    const clients = [dial(mesh), dial(mesh), dial(mesh)];
    settle(mesh);
    expect(clients[2]?.closed).toEqual({ is: "failed", code: "ECONNRESET" });
    expect(mesh.client.count("ironmesh_connections_refused_total", { reason: "too_many" })).toBe(1);
  });

  test("an endpoint that keeps failing is ejected", () => {
    const mesh = new MeshFixture();
    app(
      mesh,
      answering(() => status(500)),
    );
    const outlier = {
      consecutive5xx: 3,
      consecutiveGatewayErrors: 0,
      intervalMs: 10_000,
      baseEjectionMs: 30_000,
      maxEjectionPercent: 100,
      minHealthPercent: 0,
    };
    mesh.swapClient({ clusters: [cluster({ outlier })] });
    const text = ask(mesh, GET.repeat(4), 1000);
    expect(Array.from(text.match(/HTTP\/1.1 \d+/g) ?? [])).toEqual(
      [500, 500, 500, 503].map((c) => `HTTP/1.1 ${c}`),
    );
    expect(ask(mesh, GET, 30_100)).toStartWith("HTTP/1.1 503");
    expect(ask(mesh)).toStartWith("HTTP/1.1 500");
  });
});

describe("who may come in", () => {
  const allowGet = {
    deny: [],
    allow: [
      {
        policy: "default/only-client",
        rules: [
          {
            from: [{ principals: ["mesh/ns/default/sa/client"] }],
            to: [{ methods: ["GET"] }],
            when: [],
          },
        ],
      },
    ],
  };

  test("a request that no policy allows is 403 and names the policy; the connection stays", () => {
    const mesh = new MeshFixture();
    mesh.swapServer({ workloads: [serverWorkload({ authorization: allowGet })] });
    app(
      mesh,
      answering(() => ok()),
    );
    const client = dial(mesh);
    client.send("DELETE / HTTP/1.1\r\nhost: a\r\n\r\n");
    settle(mesh);
    const refusal = client.take();
    expect(refusal).toStartWith("HTTP/1.1 403 ");
    expect(refusal).toContain("x-ironmesh-policy: default/only-client\r\n");
    expect(refusal).toContain("RBAC: access denied");
    client.send(GET);
    settle(mesh);
    expect(client.take()).toBe(ok());
  });

  test("a new snapshot decides the next request of an open connection", () => {
    const mesh = new MeshFixture();
    app(
      mesh,
      answering(() => ok()),
    );
    const client = dial(mesh);
    client.send(GET);
    settle(mesh);
    expect(client.take()).toBe(ok());
    const authorization = { deny: [], allow: [{ policy: "default/nobody", rules: [] }] };
    mesh.swapServer({ workloads: [serverWorkload({ authorization })] });
    client.send(GET);
    settle(mesh);
    expect(client.take()).toStartWith("HTTP/1.1 403 ");
  });

  const UPGRADE =
    "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\nx-as: b\r\n\r\n";
  const SWITCHED = "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
  const onlyFor = (value: string) => {
    const when = [{ key: { is: "header", name: "x-as" } as const, values: [value] }];
    return { deny: [], allow: [{ policy: "default/p", rules: [{ from: [], to: [], when }] }] };
  };

  test("a tunnel that an Upgrade began is cut once a new policy would not admit its request", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, (end) => (end.text.endsWith("\r\n\r\n") ? SWITCHED : undefined));
    const client = dial(mesh);
    client.send(UPGRADE);
    settle(mesh);
    mesh.swapServer({ workloads: [serverWorkload({ authorization: onlyFor("b") })] });
    client.send("ping");
    settle(mesh);
    expect(apps[0]?.text).toEndWith("ping");
    mesh.swapServer({ workloads: [serverWorkload({ authorization: onlyFor("c") })] });
    settle(mesh);
    expect(client.closed).toEqual({ is: "failed", code: "ECONNRESET" });
    expect(mesh.client.plane.openConnections + mesh.server.plane.openConnections).toBe(0);
  });

  test("nor does a tunnel begin whose request a new policy forbade while the app thought about it", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, () => undefined);
    const client = dial(mesh);
    client.send(UPGRADE);
    settle(mesh);
    mesh.swapServer({ workloads: [serverWorkload({ authorization: onlyFor("c") })] });
    apps[0]?.send(SWITCHED);
    settle(mesh);
    expect(client.text).not.toContain(" 101 ");
    expect(apps[0]?.closed).toBeDefined();
    expect(mesh.server.plane.openConnections).toBe(0);
  });

  test("plaintext is served where PeerAuthentication permits, without an identity, and reset where not", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, () => undefined);
    const arrive = () => {
      const end = new TextEnd();
      const to = { address: "10.0.0.2", port: 8080 };
      end.attach(mesh.server.arrive(end, { address: "10.0.0.77", to }));
      end.send("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-client-cert: URI=spiffe://evil\r\n\r\n");
      settle(mesh);
      return end;
    };
    arrive();
    expect(apps[0]?.text).toStartWith("GET / ");
    expect(apps[0]?.text).not.toContain("x-forwarded-client-cert");
    const [port] = serverWorkload().ports;
    if (port === undefined) throw new Error("the fixture has a port");
    mesh.swapServer({ workloads: [serverWorkload({ ports: [{ ...port, mtls: "strict" }] })] });
    expect(arrive().closed?.is).toBe("failed");
    const labels = { reason: "plaintext_to_strict" };
    expect(mesh.server.count("ironmesh_connections_refused_total", labels)).toBe(1);
  });

  test("a mesh connection to a port that is not declared is reset", () => {
    const mesh = new MeshFixture();
    const end = new TextEnd();
    const serverName = SERVER_NAME.replace("8080", "22");
    end.attach(
      mesh.server.arrive(end, {
        address: "10.0.0.1",
        mesh: { identity: CLIENT_ID, serverName, alpn: ALPN_HTTP },
      }),
    );
    settle(mesh);
    expect(end.closed).toEqual({ is: "failed", code: "ECONNRESET" });
  });

  test("a listener that is dialled directly is reset and counted, whatever the address", () => {
    const mesh = new MeshFixture();
    for (const to of [
      undefined,
      { address: VIP, port: 15101 },
      { address: "1.2.3.4", port: 15001 },
    ]) {
      const end = new TextEnd();
      const [near, far] = mesh.client.network.accept(end, { address: "127.0.0.1" });
      end.attach(far);
      mesh.client.plane.acceptOutbound(near, to, 0);
      settle(mesh);
      expect(end.closed).toEqual({ is: "failed", code: "ECONNRESET" });
    }
    expect(mesh.client.count("ironmesh_listener_dialled_total")).toBe(3);
  });

  test("who dials a known endpoint's address gets the same wire and the same policy", () => {
    const mesh = new MeshFixture();
    mesh.swapServer({ workloads: [serverWorkload({ authorization: allowGet })] });
    app(
      mesh,
      answering(() => ok()),
    );
    const end = new TextEnd();
    end.attach(mesh.client.dialOut({ address: "10.0.0.2", port: 8080 }, end, "none"));
    end.send(GET);
    settle(mesh);
    expect(end.text).toStartWith("HTTP/1.1 403 ");
    const as = new TextEnd();
    as.attach(mesh.client.dialOut({ address: "10.0.0.2", port: 8080 }, as, 0));
    as.send(GET);
    settle(mesh);
    expect(as.text).toBe(ok());
  });
});

describe("life of the agent", () => {
  test("draining ends idle connections now and others with their request", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, () => undefined);
    const [idle, busy] = [dial(mesh), dial(mesh)];
    idle.send(GET);
    settle(mesh);
    apps[0]?.send(ok());
    settle(mesh);
    expect(idle.text).toBe(ok());
    busy.send(GET);
    settle(mesh);
    mesh.client.plane.drain();
    settle(mesh, 50);
    expect(idle.hasEnded).toBe(true);
    apps[0]?.send(ok());
    settle(mesh, 50);
    expect(busy.text).toContain("connection: close\r\n");
    expect(busy.text).toEndWith("hello");
  });

  test("who connected just before a drain is answered if it asks soon: nobody repeats a first request", () => {
    const mesh = new MeshFixture();
    app(
      mesh,
      answering(() => ok()),
    );
    const [soon, never] = [dial(mesh), dial(mesh)];
    settle(mesh);
    mesh.client.plane.drain();
    settle(mesh, 500);
    expect([soon.hasEnded, never.hasEnded]).toEqual([false, false]);
    soon.send(GET);
    settle(mesh, 50);
    expect(soon.text).toContain("connection: close\r\n");
    expect(soon.text).toEndWith("hello");
    settle(mesh, 700);
    expect([never.hasEnded, never.text]).toEqual([true, ""]);
  });

  test("what a DestinationRule of one namespace says of a cluster stays with its clients, over swaps too", () => {
    const mesh = new MeshFixture();
    const apps = app(
      mesh,
      answering(() => ok()),
    );
    const inClear = [{ cluster: 1, weight: 1, headers: NO_HEADERS }];
    const own = {
      httpRoutes: [forwardRoute({ destinations: inClear })],
      tcpRoutes: [],
      cluster: 1,
    };
    const [port] = service().ports;
    const slots = { connections: 20, pending: 21, requests: 22, retries: 23 };
    const swap = (): void =>
      mesh.swapClient({
        workloads: [workload("client"), workload("lax", { namespace: "lax", outboundPort: 15102 })],
        services: [service({ ports: port ? [{ ...port, inNamespace: { lax: own } }] : [] })],
        clusters: [cluster(), cluster({ endpoints: [1], slots })],
        endpoints: [endpoint(0), endpoint(1, { address: "10.0.0.2", mesh: undefined })],
      });
    for (let i = 0; i < 2; i++) {
      swap();
      expect(ask(mesh)).toBe(ok());
    }
    expect(mesh.server.count("istio_requests_total", { reporter: "destination" })).toBe(2);
    expect(apps).toHaveLength(1);
    const lax = new TextEnd();
    lax.attach(mesh.client.dialOut({ address: VIP, port: 80 }, lax, 1));
    lax.send(GET);
    settle(mesh);
    expect(lax.text).toBe(ok());
    expect(mesh.server.count("istio_requests_total", { reporter: "destination" })).toBe(2);
  });

  test("a swap keeps pooled connections to endpoints that stay", () => {
    const mesh = new MeshFixture();
    const apps = app(
      mesh,
      answering(() => ok()),
    );
    ask(mesh);
    mesh.swapClient({ workloads: [workload("client")], version: 2 });
    mesh.swapServer({ version: 2 });
    ask(mesh);
    expect(apps).toHaveLength(1);
    mesh.swapClient({ services: [], clusters: [], endpoints: [] });
    settle(mesh);
    expect(mesh.server.plane.openConnections).toBe(0);
  });

  test("with a new certificate of its caller a pooled connection is made anew, one in use after its request", () => {
    const mesh = new MeshFixture();
    let answers = true;
    const apps = app(mesh, () => (answers ? ok() : undefined));
    ask(mesh);
    const renewed = (identity: string): void => mesh.client.plane.renewed(new Set([identity]));
    renewed(SERVER_ID);
    settle(mesh);
    expect(mesh.server.plane.openConnections).toBe(1); // somebody else's
    renewed(CLIENT_ID);
    settle(mesh);
    expect(mesh.server.plane.openConnections).toBe(0);
    answers = false;
    const busy = dial(mesh);
    busy.send(GET);
    settle(mesh);
    renewed(CLIENT_ID);
    settle(mesh);
    expect(mesh.server.plane.openConnections).toBe(1);
    apps.at(-1)?.send(ok());
    settle(mesh);
    expect(busy.text).toBe(ok());
    expect(mesh.server.plane.openConnections).toBe(0);
  });

  test("a listener that went to another workload takes no open connection with it", () => {
    const mesh = new MeshFixture();
    const seen: string[] = [];
    mesh.server.network.listen(8080, (stream) => {
      const end = new TextEnd().attach(stream);
      end.onText = () => {
        seen.push(/URI=(\S+)/.exec(end.take())?.[1] ?? "");
        end.send(ok());
      };
    });
    const client = dial(mesh);
    client.send(GET);
    settle(mesh);
    mesh.swapClient({ workloads: [workload("another")], version: 2 });
    client.send(GET);
    settle(mesh);
    expect(seen).toEqual([CLIENT_ID, "spiffe://mesh/ns/ironmesh-system/sa/host.10.0.0.1"]);
  });
});
