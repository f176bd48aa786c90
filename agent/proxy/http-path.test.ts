import { describe, expect, test } from "bun:test";
import {
  CLIENT_ID,
  cluster,
  endpoint,
  type FixtureOptions,
  forwardRoute,
  MeshFixture,
  NO_HEADERS,
  SERVER_NAME,
  serverWorkload,
  service,
  VIP,
  workload,
} from "../../test/support/mesh-fixture.ts";
import { TextEnd } from "../../test/support/text-stream.ts";
import type { HttpRoute } from "../policy/snapshot.ts";
import { ALPN_HTTP } from "./mesh-alpn.ts";

const TO = { address: VIP, port: 80 };
const GET = "GET /a?b=c HTTP/1.1\r\nhost: server\r\n\r\n";
const ok = (body = "hello") => `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
const status = (code: number) => `HTTP/1.1 ${code} X\r\ncontent-length: 0\r\n\r\n`;

/** An app that is asked for an answer whenever something arrives. */
function app(mesh: MeshFixture, answer: (end: TextEnd, nth: number) => string | undefined) {
  const ends: TextEnd[] = [];
  mesh.server.network.listen(8080, (stream) => {
    const end = new TextEnd();
    const nth = ends.push(end.attach(stream)) - 1;
    end.onText = () => {
      const text = answer(end, nth);
      if (text !== undefined) end.send(text);
    };
  });
  return ends;
}

/** Answers each head of a request without a body. */
const answering = (make: (nth: number) => string) => {
  let answered = 0;
  return (end: TextEnd): string | undefined => {
    let text = "";
    for (let at = end.text.indexOf("\r\n\r\n"); at >= 0; at = end.text.indexOf("\r\n\r\n")) {
      end.text = end.text.slice(at + 4);
      text += make(answered++);
    }
    return text === "" ? undefined : text;
  };
};

function settle(mesh: MeshFixture, ms = 200): void {
  mesh.clock.pass(ms);
  expect(mesh.bugs).toEqual([]);
}

function dial(mesh: MeshFixture): TextEnd {
  const end = new TextEnd();
  return end.attach(mesh.client.dialOut(TO, end));
}

/** Sends one text, and says what came back. */
function ask(mesh: MeshFixture, text = GET, ms = 200): string {
  const client = dial(mesh);
  client.send(text);
  settle(mesh, ms);
  return client.text;
}

const withRoute = (route: HttpRoute, options: FixtureOptions = {}): MeshFixture => {
  const mesh = new MeshFixture(options);
  mesh.swapClient({ services: [service({}, [route])] });
  return mesh;
};

describe("one request through two agents", () => {
  test("passes, and the app learns who called, from a source that says it came through the mesh", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, (end) => (end.text.endsWith("\r\n\r\n") ? ok() : undefined));
    expect(ask(mesh)).toBe(ok());
    const seen = apps[0]?.text ?? "";
    expect(seen).toStartWith("GET /a?b=c HTTP/1.1\r\nhost: server\r\n");
    expect(seen).toContain(
      `x-forwarded-client-cert: By=spiffe://mesh/ns/default/sa/server;URI=${CLIENT_ID}\r\n`,
    );
    expect(seen).toMatch(/traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]\r\n/);
    expect(apps[0]?.stream?.peerAddress).toBe("127.0.0.6");
  });

  test("identity fields that a client made up are left out", () => {
    const mesh = new MeshFixture();
    const apps = app(
      mesh,
      answering(() => ok()),
    );
    const all: string[] = [];
    mesh.server.network.listen(8080, (stream) => {
      const end = new TextEnd().attach(stream);
      end.onText = () => all.push(end.text);
    });
    ask(
      mesh,
      "GET / HTTP/1.1\r\nhost: a\r\nX-Forwarded-Client-Cert: By=x;URI=spiffe://evil\r\n\r\n",
    );
    expect(all.join("")).not.toContain("evil");
    expect(all.join("")).toContain(`URI=${CLIENT_ID}`);
    expect(apps).toEqual([]);
  });

  test("ids that the client brought are passed on, not replaced", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, () => undefined);
    const trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    ask(mesh, `GET / HTTP/1.1\r\nhost: a\r\nx-request-id: mine\r\n${trace}\r\n`);
    expect(apps[0]?.text.match(/x-request-id/g)).toHaveLength(1);
    expect(apps[0]?.text).toContain(trace);
  });

  test("is counted on both sides under Istio's names", () => {
    const mesh = new MeshFixture();
    app(
      mesh,
      answering(() => ok()),
    );
    ask(mesh);
    const labels = { source_workload: "client", response_code: "200", response_flags: "-" };
    expect(mesh.client.count("istio_requests_total", { reporter: "source", ...labels })).toBe(1);
    expect(
      mesh.server.count("istio_requests_total", {
        reporter: "destination",
        source_principal: CLIENT_ID,
        destination_service: "server.default.mesh",
        connection_security_policy: "mutual_tls",
      }),
    ).toBe(1);
  });

  test("is logged when the log is on, and when it only wants errors not", () => {
    for (const [accessLog, expected] of [
      ["on", 1],
      ["errors", 0],
      ["off", 0],
    ] as const) {
      const mesh = new MeshFixture({ accessLog });
      app(
        mesh,
        answering(() => ok()),
      );
      ask(mesh);
      expect(mesh.client.records()).toHaveLength(expected);
    }
  });
});

describe("HTTP/1.1 on one connection", () => {
  test("requests one after the other reuse both connections", () => {
    const mesh = new MeshFixture();
    const apps = app(
      mesh,
      answering((n) => ok(`answer ${n}`)),
    );
    const client = dial(mesh);
    for (let i = 0; i < 5; i++) {
      client.send(GET);
      settle(mesh);
      expect(client.take()).toBe(ok(`answer ${i}`));
    }
    expect(apps).toHaveLength(1);
    expect(mesh.server.plane.openConnections).toBe(1);
  });

  test("pipelined requests are answered in order", () => {
    const mesh = new MeshFixture();
    app(
      mesh,
      answering((n) => ok(`answer ${n}`)),
    );
    expect(ask(mesh, GET.repeat(20), 2000)).toBe(
      Array.from({ length: 20 }, (_, n) => ok(`answer ${n}`)).join(""),
    );
  });

  test("a request that arrives byte by byte passes", () => {
    const mesh = new MeshFixture();
    app(
      mesh,
      answering(() => ok()),
    );
    const client = dial(mesh);
    for (const byte of GET) {
      client.send(byte);
      mesh.clock.pass(5);
    }
    settle(mesh);
    expect(client.text).toBe(ok());
  });

  test("a body with a length, and a chunked one with trailers, pass unchanged in both directions", () => {
    const mesh = new MeshFixture();
    const chunked = "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n";
    const response = `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${chunked}`;
    const apps = app(mesh, (end) => {
      if (end.text.endsWith("0\r\nx-sum: 1\r\n\r\n")) return response;
      return end.text.endsWith("\r\n\r\nabc") ? ok() : undefined;
    });
    const client = dial(mesh);
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc");
    settle(mesh);
    expect(client.take()).toBe(ok());
    client.send(`POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n${chunked}`);
    settle(mesh);
    expect(client.take()).toBe(response);
    expect(apps[0]?.text).toEndWith(`\r\n\r\n${chunked}`);
  });

  test("HEAD, 204 and 304 have no body, and the next answer begins right after them", () => {
    const mesh = new MeshFixture();
    const answers = [
      "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n",
      "HTTP/1.1 204 No Content\r\n\r\n",
      "HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n",
      ok("last"),
    ];
    app(
      mesh,
      answering((n) => answers[n] ?? ""),
    );
    expect(ask(mesh, GET.replace("GET", "HEAD") + GET.repeat(3), 1000)).toBe(answers.join(""));
  });

  test("100-continue goes to the client, then its body to the app, then the answer back", () => {
    const mesh = new MeshFixture();
    app(mesh, (end) => {
      if (end.text.endsWith("body")) return ok();
      return end.text.endsWith("\r\n\r\n") ? "HTTP/1.1 100 Continue\r\n\r\n" : undefined;
    });
    const client = dial(mesh);
    client.send("PUT / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n");
    settle(mesh);
    expect(client.take()).toBe("HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body");
    settle(mesh);
    expect(client.take()).toBe(ok());
  });

  test("an answer that comes before the whole request reaches the client whole", () => {
    const mesh = new MeshFixture();
    app(mesh, (end) => (end.bytesReceived > 1000 ? undefined : status(413)));
    const client = dial(mesh);
    client.send(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n${"x".repeat(100)}`);
    settle(mesh, 100);
    expect(client.text).toStartWith("HTTP/1.1 413 X\r\n");
    expect(client.closed?.is ?? "open").not.toBe("failed");
  });

  test("a client that ends its direction after the request still gets the answer", () => {
    const mesh = new MeshFixture();
    app(
      mesh,
      answering(() => ok()),
    );
    const client = dial(mesh);
    client.send(GET);
    client.end();
    settle(mesh);
    expect(client.text).toContain("hello");
    expect(client.hasEnded || client.closed !== undefined).toBe(true);
    expect(mesh.client.plane.openConnections).toBe(0);
  });

  test("connection: close is kept on its own hop", () => {
    const mesh = new MeshFixture();
    const apps = app(
      mesh,
      answering(() => ok()),
    );
    const client = dial(mesh);
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    settle(mesh);
    expect(client.text).toContain("connection: close\r\n");
    expect(client.hasEnded).toBe(true);
    expect(apps[0]?.hasEnded).toBe(false);
  });

  test("a body until close ends with the app's connection and closes the client's in order", () => {
    const mesh = new MeshFixture();
    app(mesh, (end) => {
      end.send("HTTP/1.1 200 OK\r\n\r\nall there is");
      end.end();
      return undefined;
    });
    const client = dial(mesh);
    client.send(GET);
    settle(mesh);
    expect(client.text).toBe("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall there is");
    expect(client.hasEnded).toBe(true);
  });

  test("an Upgrade becomes a tunnel in both directions", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, (end) => {
      if (end.text.endsWith("ping")) return "pong";
      if (!end.text.endsWith("\r\n\r\n")) return undefined;
      return "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nfirst";
    });
    const client = dial(mesh);
    client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
    settle(mesh);
    expect(apps[0]?.text).toContain("upgrade: echo\r\n");
    expect(client.take()).toEndWith("\r\n\r\nfirst");
    client.send("ping");
    settle(mesh);
    expect(client.take()).toBe("pong");
    client.end();
    settle(mesh);
    expect(apps[0]?.hasEnded).toBe(true);
    apps[0]?.end();
    settle(mesh);
    expect(client.hasEnded || client.closed !== undefined).toBe(true);
    expect(mesh.client.plane.openConnections + mesh.server.plane.openConnections).toBe(0);
  });
});

describe("what a client does wrong", () => {
  test("an ambiguous request gets 400 and a closed connection, and the app sees nothing", () => {
    const mesh = new MeshFixture();
    const apps = app(
      mesh,
      answering(() => ok()),
    );
    const client = dial(mesh);
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc");
    settle(mesh);
    expect(client.text).toStartWith("HTTP/1.1 400 ");
    expect(client.hasEnded).toBe(true);
    expect(apps).toEqual([]);
    expect(mesh.client.count("istio_requests_total", { response_flags: "DPE" })).toBe(1);
  });

  test("a head that does not come to an end gets 408", () => {
    const mesh = new MeshFixture();
    const client = dial(mesh);
    client.send("GET / HTTP/1.1\r\nhost:");
    settle(mesh, 10_100);
    expect(client.text).toStartWith("HTTP/1.1 408 ");
  });

  test("an idle connection is closed after the idle timeout", () => {
    const mesh = new MeshFixture({ config: { idleTimeoutMs: 5000 } });
    app(
      mesh,
      answering(() => ok()),
    );
    const client = dial(mesh);
    client.send(GET);
    settle(mesh, 4000);
    expect(client.hasEnded).toBe(false);
    settle(mesh, 3000);
    expect(client.hasEnded).toBe(true);
  });

  test("who hangs up in the middle costs the app its connection and is logged as DC", () => {
    const mesh = new MeshFixture({ accessLog: "on" });
    const apps = app(mesh, () => undefined);
    const client = dial(mesh);
    client.send(GET);
    settle(mesh, 50);
    client.stream?.reset();
    settle(mesh);
    expect(mesh.client.records().map((r) => r["response_flags"])).toEqual(["DC"]);
    expect(apps[0]?.closed !== undefined || apps[0]?.hasEnded).toBe(true);
    expect(mesh.client.plane.openConnections + mesh.server.plane.openConnections).toBe(0);
  });
});

describe("what goes wrong upstream", () => {
  test("no route is 404 NR, no cluster 503 NC, no endpoint 503 UH", () => {
    const uri = { is: "prefix", value: "/b" } as const;
    const none = withRoute({ ...forwardRoute(), matches: [{ uri }] });
    expect(ask(none)).toStartWith("HTTP/1.1 404 ");
    expect(none.client.count("istio_requests_total", { response_flags: "NR" })).toBe(1);
    const destinations = [{ cluster: undefined, weight: 1, headers: NO_HEADERS }];
    expect(ask(withRoute(forwardRoute({ destinations })))).toStartWith("HTTP/1.1 503 ");
    const empty = new MeshFixture();
    empty.swapClient({ clusters: [cluster({ endpoints: [] })] });
    expect(ask(empty)).toStartWith("HTTP/1.1 503 ");
    expect(empty.client.count("istio_requests_total", { response_flags: "UH" })).toBe(1);
  });

  test("a refused connection is tried again on the other endpoint", () => {
    const mesh = new MeshFixture();
    app(
      mesh,
      answering(() => ok()),
    );
    mesh.swapClient({
      clusters: [cluster({ endpoints: [0, 1] })],
      endpoints: [endpoint(0), endpoint(1, { address: "10.0.0.9", id: "10.0.0.9:8080" })],
    });
    for (let i = 0; i < 6; i++) expect(ask(mesh, GET, 1000)).toBe(ok());
  });

  test("with nobody to connect to it is 503 UF after the retries are spent", () => {
    const mesh = new MeshFixture();
    mesh.server.network.unlisten(15008);
    expect(ask(mesh, GET, 2000)).toStartWith("HTTP/1.1 503 ");
    expect(mesh.client.count("istio_requests_total", { response_flags: "UF,URX" })).toBe(1);
  });

  test("a dial that never ends is given up after connectTimeoutMs", () => {
    const mesh = withRoute(forwardRoute({ retry: undefined }));
    mesh.fabric.silent.add("10.0.0.2:15008");
    const client = dial(mesh);
    client.send(GET);
    settle(mesh, 9_900);
    expect(client.text).toBe("");
    settle(mesh, 300);
    expect(client.text).toStartWith("HTTP/1.1 503 ");
    expect(mesh.client.slots.read(10)).toBe(0);
  });

  test("an app that is down is 503 from its own agent", () => {
    const mesh = new MeshFixture();
    expect(ask(mesh)).toStartWith("HTTP/1.1 503 ");
    expect(mesh.server.count("istio_requests_total", { response_flags: "UF" })).toBe(1);
  });

  test("an app that takes too long is 504 UT after the route's timeout, retries included", () => {
    const mesh = withRoute(forwardRoute({ timeoutMs: 500 }));
    app(mesh, () => undefined);
    const client = dial(mesh);
    client.send(GET);
    settle(mesh, 450);
    expect(client.text).toBe("");
    settle(mesh, 100);
    expect(client.text).toStartWith("HTTP/1.1 504 ");
    expect(mesh.client.count("istio_requests_total", { response_flags: "UT" })).toBe(1);
  });

  test("a try that takes too long is tried again", () => {
    const retry = {
      attempts: 2,
      perTryTimeoutMs: 100,
      on: ["5xx"] as const,
      statusCodes: [],
      backoffBaseMs: 25,
    };
    const mesh = withRoute(forwardRoute({ retry }));
    app(mesh, (_end, nth) => (nth === 2 ? ok("third time") : undefined));
    expect(ask(mesh, GET, 1000)).toContain("third time");
  });

  test("a 503 is tried again when the policy says so, and the body goes out again whole", () => {
    const retry = {
      attempts: 2,
      perTryTimeoutMs: undefined,
      on: ["5xx"] as const,
      statusCodes: [],
      backoffBaseMs: 25,
    };
    const mesh = withRoute(forwardRoute({ retry }));
    let answered = 0;
    const bodies: string[] = [];
    app(mesh, (end) => {
      const at = end.text.indexOf("\r\n\r\n");
      if (at < 0 || end.text.length < at + 7) return undefined;
      bodies.push(end.text.slice(at + 4));
      end.text = "";
      return answered++ < 2 ? status(503) : ok();
    });
    const text = ask(mesh, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", 1000);
    expect(text).toBe(ok());
    expect(bodies).toEqual(["abc", "abc", "abc"]);
  });

  test("a pooled connection that its server closed meanwhile is not the client's trouble", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, (end, nth) => {
      if (nth > 0) return end.text.endsWith("\r\n\r\n") ? ok("fresh") : undefined;
      if (end.text.split("\r\n\r\n").length === 2) return ok();
      end.stream?.reset();
      return undefined;
    });
    const client = dial(mesh);
    client.send(GET);
    settle(mesh);
    client.take();
    client.send(GET);
    settle(mesh);
    expect(client.take()).toBe(ok("fresh"));
    expect(apps).toHaveLength(2);
  });

  test("but a POST on it is 503 UC: it may have been carried out", () => {
    const mesh = new MeshFixture();
    const post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
    app(mesh, (end) => {
      if (end.text.split("\r\n\r\n").length === 2) return ok();
      end.stream?.reset();
      return undefined;
    });
    const client = dial(mesh);
    client.send(post);
    settle(mesh);
    client.take();
    client.send(post);
    settle(mesh);
    expect(client.take()).toStartWith("HTTP/1.1 503 ");
  });

  test("a response that is cut short cuts the client's connection too", () => {
    const mesh = new MeshFixture();
    app(mesh, (end) => {
      end.send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this");
      end.end();
      return undefined;
    });
    const client = dial(mesh);
    client.send(GET);
    settle(mesh);
    expect(client.text).toContain("only this");
    expect(client.closed).toEqual({ is: "failed", code: "ECONNRESET" });
  });

  test("an answer that is not HTTP is 502 UPE", () => {
    const mesh = new MeshFixture();
    app(mesh, () => "220 smtp ready\r\n\r\n");
    expect(ask(mesh)).toStartWith("HTTP/1.1 502 ");
    expect(mesh.server.count("istio_requests_total", { response_flags: "UPE" })).toBe(1);
  });
});

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
    const idle = dial(mesh);
    const busy = dial(mesh);
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
});
