// RFC 9112 9, connections: persistence, pipelining, closing, half-close; what is for one hop stays on it (RFC 9110 7.6.1).
import { describe, expect, test } from "bun:test";
import { readNaively, valuesOf } from "../../support/naive-http1.ts";
import {
  type Answer,
  answerEach,
  expectPassed,
  expectRefused,
  Hop,
  OK,
  TRAVELS,
  WAYS,
} from "../../support/one-hop.ts";

const GET = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const get = (fields: string, version = "1.1"): string =>
  `GET / HTTP/${version}\r\nhost: a\r\n${fields}\r\n`;
const CLOSING = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";

describe("RFC 9112 9.3: persistence", () => {
  test("9.3 HTTP/1.1 lives on, on both hops", () => {
    const hop = new Hop(answerEach(OK));
    for (let i = 0; i < 5; i++) hop.say(GET);
    expect(hop.client.text).toBe(OK.repeat(5));
    expect(hop.apps).toHaveLength(1);
  });

  test.each(["close", "Close", "x, close", "close, keep-alive", "keep-alive, close"])(
    "9.6 after a request with Connection: %s comes one answer, which says so, and the end",
    (options) => {
      for (const travel of TRAVELS) {
        const hop = new Hop(answerEach(OK), { travel });
        hop.say(get(`connection: ${options}\r\n`) + GET);
        expect(hop.client.text).toBe(CLOSING);
        expect([hop.isOver, hop.wasCut]).toEqual([true, false]);
        // The request behind it is not carried out.
        expect(hop.seen.split("GET ")).toHaveLength(2);
        expect(hop.apps[0]?.hasEnded).toBe(false);
      }
    },
  );

  test("9.3 no connection with a client of HTTP/1.0 lives on, whatever it says", () => {
    const hop = new Hop(answerEach(OK));
    hop.say(get("connection: keep-alive\r\n", "1.0"));
    expect(hop.client.text).toBe(CLOSING);
    expect(hop.isOver).toBe(true);
  });

  test.each([
    ["9.6 says close", "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"],
    ["9.3 speaks HTTP/1.0", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"],
  ])(
    "an app that %s is asked nothing more there; the client's connection lives on",
    (_rule, answer) => {
      const hop = new Hop(answerEach(answer));
      hop.say(GET).say(GET);
      expect(hop.client.text).toBe(OK + OK);
      expect(hop.apps).toHaveLength(2);
      expect(hop.isOver).toBe(false);
    },
  );

  test("9.3 a request that is answered before its body was read costs its connection, so that the body is no request", () => {
    for (const way of WAYS) {
      const hop = new Hop((end) => (end.text.endsWith("\r\n\r\n") ? OK : undefined), { way });
      hop.say("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n");
      hop.say(GET);
      expect(hop.client.text).toBe(CLOSING);
      expect(hop.isOver).toBe(true);
      expect(hop.seen).not.toContain("GET");
      expect(hop.apps[0]?.closed !== undefined || hop.apps[0]?.hasEnded).toBe(true);
      hop.expectNothingLeft();
    }
  });

  test("9.3 a request that the agent answers itself before its body came closes too", () => {
    const hop = new Hop(answerEach(OK));
    hop.mesh.swapClient({ services: [] });
    hop.mesh.swapClient({ outboundPolicy: "registry_only", services: [] });
    hop.say("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n").say(GET);
    expect(hop.statuses).toHaveLength(1);
    expect(hop.client.text).toContain("connection: close\r\n");
    expect(hop.isOver).toBe(true);
  });
});

describe("RFC 9112 9.3.1: a kept connection that dies under a request", () => {
  /** Answers once on its first connection, and resets it at the next request; answers on others. */
  const forgetful: Answer = (end, nth) => {
    const asked = end.text.split("HTTP/1.1\r\n").length - 1;
    if (nth > 0 || asked < 2) return OK;
    end.stream?.reset();
    return undefined;
  };

  test.each(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])(
    "%s goes out again, once, on a new one",
    (method) => {
      for (const way of WAYS) {
        const hop = new Hop(forgetful, { way });
        hop.say(GET).say(`${method} /again HTTP/1.1\r\nhost: a\r\n\r\n`);
        expect(hop.statuses).toEqual([200, 200]);
        expect(hop.apps.map((end) => end.text.includes("/again"))).toEqual([true, true]);
        hop.expectNothingLeft();
      }
    },
  );

  test.each(["POST", "PATCH", "X-ANY"])("%s does not: it may have been carried out", (method) => {
    for (const way of WAYS) {
      const hop = new Hop(forgetful, { way });
      hop.say(GET).say(`${method} /again HTTP/1.1\r\nhost: a\r\n\r\n`);
      expect(hop.statuses).toEqual([200, 503]);
      expect(hop.apps).toHaveLength(1);
      hop.expectNothingLeft();
    }
  });
});

describe("RFC 9112 9.3.2: pipelining", () => {
  test("requests are carried out and answered in the order they came in, however slow the first", () => {
    for (const way of WAYS) {
      for (const travel of TRAVELS) {
        const hop = new Hop(undefined, { way, travel });
        hop.say(
          ["/1", "/2", "/3"].map((path) => `GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`).join(""),
        );
        for (const nth of ["1", "2", "3"]) {
          const asked = hop.apps.findIndex((end) => end.text.includes(`GET /${nth} `));
          expect({ nth, asked: asked >= 0 }).toEqual({ nth, asked: true });
          hop.answer(`HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n${nth}`, asked);
        }
        expect(hop.client.text.replace(/HTTP.*?\r\n\r\n/gs, "")).toBe("123");
        hop.expectNothingLeft();
      }
    }
  });

  test("a bad request behind good ones is refused after they are answered", () => {
    const hop = new Hop(answerEach(OK));
    hop.say(`${GET}${GET}GET / HTTP/1.1\r\n\r\n`);
    expect(hop.statuses).toEqual([200, 200, 400]);
    expect(hop.isOver).toBe(true);
  });

  test("9.4 many clients at once do not see each other's answers", () => {
    const hop = new Hop((end) => {
      const paths = Array.from(end.take().matchAll(/GET \/([0-9]+) /g), ([, n]) => n);
      return paths.length === 0
        ? undefined
        : paths.map((n) => `HTTP/1.1 200 OK\r\ncontent-length: ${n?.length}\r\n\r\n${n}`).join("");
    });
    const clients = Array.from({ length: 50 }, () => hop.dial());
    clients.forEach((client, i) => {
      client.send(`GET /${i} HTTP/1.1\r\nhost: a\r\n\r\n`);
    });
    hop.pass();
    expect(clients.map((client) => client.text.split("\r\n\r\n")[1])).toEqual(
      clients.map((_, i) => `${i}`),
    );
  });
});

describe("RFC 9112 9.6 and 9.8: half-close", () => {
  test("a client that ends its direction after whole requests gets all its answers, then the end", () => {
    for (const way of WAYS) {
      const hop = new Hop(answerEach(OK), { way });
      hop.client.send(GET + GET);
      hop.client.end();
      hop.pass();
      expect(hop.statuses).toEqual([200, 200]);
      expect([hop.isOver, hop.wasCut]).toEqual([true, false]);
      hop.expectNothingLeft();
    }
  });

  test("a client that ends in the middle of a head is not answered", () => {
    const hop = new Hop(answerEach(OK));
    hop.client.send("GET / HTT");
    hop.client.end();
    hop.pass();
    expect(hop.client.text).toBe("");
    expect(hop.isOver).toBe(true);
    hop.expectNothingLeft();
  });

  test("an app that ends its direction after its answer is not asked again", () => {
    const hop = new Hop((end) => {
      end.send(OK);
      end.end();
      return undefined;
    });
    hop.say(GET).say(GET);
    expect(hop.statuses).toEqual([200, 200]);
    expect(hop.apps).toHaveLength(2);
    hop.expectNothingLeft();
  });

  test("an app that answers early and ends while the request's body still comes: the answer arrives whole", () => {
    const hop = new Hop((end) => {
      if (!end.text.endsWith("\r\n\r\n")) return undefined;
      end.send(
        "HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig",
      );
      end.end();
      return undefined;
    });
    hop.say("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n");
    hop.say("x".repeat(50_000));
    expect(hop.client.text).toEndWith("\r\n\r\nbig");
    expect(hop.wasCut).toBe(false);
    hop.expectNothingLeft();
  });
});

describe("RFC 9110 7.6.1: fields for one hop", () => {
  const HOP = ["Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "TE: gzip", "Upgrade: x"];

  test.each(WAYS)("of a request stay on it, with those that Connection names (%s)", (way) => {
    const fields = [
      "Connection: X-One, close, x-two",
      "x-one: 1",
      "X-Two: 2",
      "X-ONE: 3",
      ...HOP,
      "X-Kept: 1",
    ];
    const read = readNaively(expectPassed(get(`${fields.join("\r\n")}\r\n`), { way }), "request");
    const names = read?.fields.map(([name]) => name) ?? [];
    expect(names).toContain("x-kept");
    for (const gone of [
      "connection",
      "x-one",
      "x-two",
      "keep-alive",
      "proxy-connection",
      "te",
      "upgrade",
    ])
      expect(names).not.toContain(gone);
  });

  test("of a response stay on it, with those that Connection names", () => {
    const fields = [
      "Connection: x-one",
      "X-One: 1",
      "Keep-Alive: timeout=5",
      "Proxy-Connection: close",
      "Upgrade: h2c",
      "X-Kept: 1",
    ];
    const hop = new Hop(
      answerEach(`HTTP/1.1 200 OK\r\n${fields.join("\r\n")}\r\ncontent-length: 0\r\n\r\n`),
    );
    hop.say(GET);
    expect(hop.client.text).toBe("HTTP/1.1 200 OK\r\nX-Kept: 1\r\ncontent-length: 0\r\n\r\n");
  });

  test("of a 1xx stay on it too", () => {
    for (const travel of TRAVELS) {
      const hop = new Hop(
        answerEach(
          `HTTP/1.0 103 Hints\r\nconnection: x-one\r\nx-one: 1\r\nlink: </a>\r\n\r\n${OK}`,
        ),
        { travel },
      );
      hop.say(GET);
      expect(hop.client.text).toBe(`HTTP/1.1 103 Hints\r\nlink: </a>\r\n\r\n${OK}`);
    }
  });

  test.each(["host", "content-length", "transfer-encoding", "Host, close"])(
    "Connection may not name %s, on which the message's meaning rests",
    (name) => {
      expectRefused(
        `POST / HTTP/1.1\r\nhost: a\r\nconnection: ${name}\r\ncontent-length: 3\r\n\r\nabc`,
        400,
      );
    },
  );

  test.each(["a b", "\x22close\x22", "a;b", "close/1"])(
    "Connection: %s is no list of tokens",
    (value) => {
      expectRefused(get(`connection: ${value}\r\n`), 400);
    },
  );

  test("Connection cannot take the identity field from the app: it is set behind it", () => {
    const mesh = {
      identity: "spiffe://mesh/ns/default/sa/client",
      serverName: "8080.server.server.default.ironmesh",
      alpn: "ironmesh/1+http/1.1",
    };
    const hop = new Hop(answerEach(OK), { way: "inbound" });
    const caller = hop.dial();
    caller.attach(hop.mesh.server.arrive(caller, { address: "10.0.0.1", mesh }));
    hop.say(
      get("connection: x-forwarded-client-cert\r\nx-forwarded-client-cert: URI=spiffe://evil\r\n"),
      caller,
    );
    expect(hop.seen).toContain(`URI=${mesh.identity}`);
    expect(hop.seen).not.toContain("evil");
  });

  test.each(WAYS)("an identity field in disguise is kept from the app (%s)", (way) => {
    const names = ["X-Forwarded-Client-Cert", "x_forwarded_client_cert", "X-Forwarded_Client-Cert"];
    const fields = names.map((name) => `${name}: URI=spiffe://evil\r\n`).join("");
    expect(expectPassed(get(`${fields}x_other: 1\r\n`), { way })).not.toContain("evil");
    expect(expectPassed(get(`${fields}x_other: 1\r\n`), { way })).toContain("x_other: 1\r\n");
  });

  test("7.4 TE: trailers goes on, named in Connection; codings in TE do not", () => {
    const asked = (te: string) =>
      readNaively(expectPassed(get(`te: ${te}\r\nconnection: te\r\n`)), "request");
    const trailers = asked("trailers");
    expect(trailers && [valuesOf(trailers, "te"), valuesOf(trailers, "connection")]).toEqual([
      ["trailers"],
      ["te"],
    ]);
    const gzip = asked("trailers, gzip;q=0.5");
    expect(gzip && [valuesOf(gzip, "te"), valuesOf(gzip, "connection")]).toEqual([[], []]);
  });
});
