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
  cluster,
  endpoint,
  forwardRoute,
  MeshFixture,
  NO_HEADERS,
  SERVER_ID,
  service,
} from "../../test/support/mesh-fixture.ts";
import { TextEnd } from "../../test/support/text-stream.ts";

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

  test("a try that was answered before its request was whole gives its connection to nobody", () => {
    const retry = {
      attempts: 1,
      perTryTimeoutMs: undefined,
      on: ["5xx"] as const,
      statusCodes: [],
      backoffBaseMs: 25,
    };
    const mesh = new MeshFixture();
    const seen: string[] = [];
    mesh.server.network.listen(8080, (stream) => {
      const end = new TextEnd().attach(stream);
      const nth = seen.push("") - 1;
      end.onText = () => {
        const isFirst = seen[nth] === "";
        seen[nth] += end.take();
        if (isFirst) end.send(nth === 0 ? status(503) : ok());
      };
    });
    mesh.swapClient({
      services: [service({}, [forwardRoute({ retry })])],
      endpoints: [endpoint(0, { mesh: undefined })],
    });
    const slow = dial(mesh);
    slow.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 300\r\n\r\nabc");
    settle(mesh, 20);
    expect(ask(mesh)).toBe(ok());
    expect(seen[0]).not.toContain("GET ");
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

  test("unless it had begun to answer: nobody gets an interim response twice", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, (end, nth) => {
      if (nth > 0) return ok("fresh");
      if (end.text.split("\r\n\r\n").length === 2) return ok();
      end.send("HTTP/1.1 103 Early Hints\r\n\r\n");
      end.stream?.close();
      return undefined;
    });
    const client = dial(mesh);
    client.send(GET);
    settle(mesh);
    client.take();
    client.send(GET);
    settle(mesh);
    expect(client.take()).toMatch(/^HTTP\/1.1 103 Early Hints\r\n\r\nHTTP\/1.1 503 /);
    expect(apps).toHaveLength(1);
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

  /** An agent that ends after it took a request, and before it said anything; `isStreamOnly`: it is that stream that it resets. */
  const endingAgent = (mesh: MeshFixture, isStreamOnly = false): { requests: number } => {
    const seen = { requests: 0 };
    const { network } = mesh.client;
    const dialPlainly = network.dial.bind(network);
    network.dial = (target, handler) => {
      const stream = dialPlainly(target, handler);
      const isCarrierGone = (): boolean => !isStreamOnly && !stream.isOpen;
      return Object.defineProperty(stream, "isCarrierGone", { get: isCarrierGone });
    };
    mesh.server.network.listenMesh(15008, {
      identityOf: () => SERVER_ID,
      accept: (stream) => {
        if (seen.requests > 0) return mesh.server.plane.acceptMesh(stream);
        const end = new TextEnd();
        end.attach(stream);
        end.onText = () => {
          seen.requests++;
          end.stream?.reset();
        };
      },
    });
    return seen;
  };

  test("another agent that ends with a request on its way to it is not the client's trouble", () => {
    const mesh = new MeshFixture();
    app(
      mesh,
      answering(() => ok("fresh")),
    );
    const seen = endingAgent(mesh);
    expect(ask(mesh)).toBe(ok("fresh"));
    expect(seen.requests).toBe(1);
  });

  test("but one that resets this very request is believed: its app may have had it", () => {
    const mesh = new MeshFixture();
    app(
      mesh,
      answering(() => ok("fresh")),
    );
    const seen = endingAgent(mesh, true);
    expect(ask(mesh)).toStartWith("HTTP/1.1 503 ");
    expect(seen.requests).toBe(1);
  });

  test("a POST that crosses another agent's wish to end is answered: idle streams are ended by who may ask on them", () => {
    const mesh = new MeshFixture({ sharesConnections: true });
    app(
      mesh,
      answering(() => ok("told")),
    );
    const client = dial(mesh);
    client.send("GET / HTTP/1.1\r\nhost: server\r\n\r\n");
    settle(mesh);
    expect(client.take()).toBe(ok("told"));
    mesh.server.streams?.drain();
    mesh.server.plane.drain();
    client.send("POST / HTTP/1.1\r\nhost: server\r\ncontent-length: 0\r\n\r\n");
    settle(mesh, 100);
    expect(client.take()).toBe(ok("told"));
    expect(mesh.server.plane.openConnections).toBe(0);
    expect(mesh.server.streams?.isDrained).toBe(true);
  });

  test("a POST to an agent that ends is 503 UC, once", () => {
    const mesh = new MeshFixture();
    app(
      mesh,
      answering(() => ok()),
    );
    endingAgent(mesh);
    const post = "POST / HTTP/1.1\r\nhost: server\r\ncontent-length: 0\r\n\r\n";
    expect(ask(mesh, post)).toStartWith("HTTP/1.1 503 ");
    expect(mesh.client.count("istio_requests_total", { response_flags: "UC" })).toBe(1);
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

test("a body that turns out nonsense in the middle of its response ends the connection: no answer is put into another", () => {
  const mesh = new MeshFixture();
  app(mesh, (end) =>
    end.text.includes("abc") ? "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart" : undefined,
  );
  const client = dial(mesh);
  client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
  settle(mesh);
  expect(client.take()).toEndWith("part");
  client.send("nonsense\r\n");
  settle(mesh);
  expect(client.text).toBe("");
  expect(client.closed).toMatchObject({ is: "failed" });
});
