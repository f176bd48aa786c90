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
} from "../../test/support/http-conversation.ts";
import { CLIENT_ID, MeshFixture } from "../../test/support/mesh-fixture.ts";
import { TextEnd } from "../../test/support/text-stream.ts";

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

  test("a client of HTTP/1.0 gets an answer without chunks or interim heads, ended by the connection", () => {
    const mesh = new MeshFixture({ network: { splits: true } });
    const chunks = "5;x=y\r\nhello\r\n7\r\n, world\r\n0\r\nx-sum: 1\r\n\r\n";
    const apps = app(mesh, (end) =>
      end.text.endsWith("\r\n\r\n")
        ? `HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${chunks}`
        : undefined,
    );
    const client = dial(mesh);
    client.send("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n");
    settle(mesh, 1000);
    expect(apps[0]?.text).toStartWith("GET / HTTP/1.1\r\n");
    expect(client.text).toBe("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello, world");
    expect(client.hasEnded).toBe(true);
  });

  test("the access log tells the version that its client speaks, and none where the head cannot be read", () => {
    const mesh = new MeshFixture({ accessLog: "on" });
    app(
      mesh,
      answering(() => ok()),
    );
    for (const request of [GET.replace("HTTP/1.1", "HTTP/1.0"), GET, "GET / HTTP/1.0\r\n\r\n"])
      ask(mesh, request);
    expect(mesh.client.records().map(({ protocol }) => protocol)).toEqual([
      "HTTP/1.0",
      "HTTP/1.1",
      undefined,
    ]);
    // Between agents it is HTTP/1.1.
    expect(mesh.server.records().map(({ protocol }) => protocol)).toEqual(["HTTP/1.1", "HTTP/1.1"]);
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
