// What RFC 9110 asks of who stands between: interim responses (15.2), expectations (10.1.1), another protocol (7.8), and a target that
// is forwarded as policy saw it (Istio's pathNormalization BASE).
import { describe, expect, test } from "bun:test";
import type { Authorization } from "../../../agent/policy/authorization-rules.ts";
import { INTERIM_BYTES_MAX, INTERIM_MAX } from "../../../agent/protocol/http1/interim.ts";
import { serverWorkload } from "../../support/mesh-fixture.ts";
import {
  answerEach,
  expectDistrusted,
  expectRefused,
  Hop,
  OK,
  TRAVELS,
  WAYS,
} from "../../support/one-hop.ts";

const GET = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n";
const PUT = "PUT / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";

describe("RFC 9110 15.2: interim responses", () => {
  test.each(["100 Continue", "102 Processing", "103 Early Hints", "199 "])(
    "%s passes, and the answer behind it",
    (line) => {
      for (const way of WAYS) {
        for (const travel of TRAVELS) {
          const answer = `HTTP/1.1 ${line}\r\nlink: </a>\r\n\r\n`.repeat(2) + OK;
          const hop = new Hop(answerEach(answer), { way, travel });
          hop.say(GET + GET);
          expect(hop.client.text).toBe(answer + answer);
          hop.expectNothingLeft();
        }
      }
    },
  );

  test("a client of HTTP/1.0 gets none", () => {
    const hop = new Hop(answerEach(`${CONTINUE}HTTP/1.1 103 Hints\r\n\r\n${OK}`));
    hop.say("GET / HTTP/1.0\r\nhost: a\r\n\r\n");
    expect(hop.statuses).toEqual([200]);
  });

  test("an interim response alone is no answer: 503 when the app ends", () => {
    const hop = new Hop((end) => {
      end.send("HTTP/1.1 103 Hints\r\n\r\n");
      end.end();
      return undefined;
    });
    hop.say(GET);
    expect(hop.statuses).toEqual([103, 503]);
    hop.expectNothingLeft();
  });

  const INTERIM = "HTTP/1.1 102 Processing\r\n\r\n";
  const long = (bytes: number): string =>
    INTERIM.replace("\r\n\r\n", `\r\nx: ${"y".repeat(bytes)}\r\n\r\n`);

  test.each(WAYS)(
    "as many as one request may get, and the next one may get them anew (%s)",
    (way) => {
      const hop = new Hop(answerEach(INTERIM.repeat(INTERIM_MAX) + OK), { way });
      for (let asked = 1; asked < 3; asked++) {
        hop.say(GET);
        expect(hop.statuses).toHaveLength((INTERIM_MAX + 1) * asked);
        expect(hop.client.text).toEndWith(OK);
      }
      expect(hop.apps).toHaveLength(1);
      hop.expectNothingLeft();
    },
  );

  test.each(WAYS)("one more is 502, and its app's connection serves nobody else (%s)", (way) => {
    for (const travel of ["whole", "pieces"] as const) {
      for (const [text, passed] of [
        [INTERIM.repeat(INTERIM_MAX + 1), INTERIM_MAX],
        [long(50_000).repeat(3), Math.floor(INTERIM_BYTES_MAX / 50_100)],
      ] as const) {
        const hop = new Hop((end, nth) => answerEach(nth === 0 ? text + OK : OK)(end, nth), {
          way,
          travel,
        });
        hop.say(GET);
        expect(hop.statuses).toEqual([...new Array(passed).fill(102), 502]);
        expect(hop.apps[0]?.closed !== undefined || hop.apps[0]?.hasEnded).toBe(true);
        hop.say(GET, hop.dial());
        expect(hop.apps).toHaveLength(2);
        hop.expectNothingLeft();
      }
    }
  });

  test("without end, to a client of HTTP/1.0, which gets none of them: 502", () => {
    const hop = new Hop(answerEach(INTERIM.repeat(INTERIM_MAX + 1)));
    hop.say("GET / HTTP/1.0\r\nhost: a\r\n\r\n");
    expect(hop.statuses).toEqual([502]);
  });
});

describe("RFC 9110 10.1.1: Expect", () => {
  test("100-continue goes to the app, its 100 to the client, then the body, then the answer", () => {
    for (const way of WAYS) {
      const hop = new Hop((end) => (end.text.endsWith("\r\n\r\nbody") ? OK : undefined), { way });
      hop.say(PUT);
      expect(hop.seen).toContain("expect: 100-continue\r\n");
      expect(hop.client.text).toBe("");
      hop.answer(CONTINUE);
      expect(hop.client.take()).toBe(CONTINUE);
      hop.say("body");
      expect(hop.client.text).toBe(OK);
      hop.expectNothingLeft();
    }
  });

  test("a final answer in place of 100 closes: a body that may still come is no request", () => {
    const hop = new Hop((end) =>
      end.text.endsWith("\r\n\r\n") ? "HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n" : undefined,
    );
    hop.say(PUT).say(GET);
    expect(hop.client.text).toBe(
      "HTTP/1.1 417 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
    expect(hop.isOver).toBe(true);
    hop.expectNothingLeft();
  });

  test("a client that does not wait for 100 may send its body at once", () => {
    const hop = new Hop((end) => (end.text.endsWith("\r\n\r\nbody") ? CONTINUE + OK : undefined));
    hop.say(`${PUT}body`);
    expect(hop.client.text).toBe(CONTINUE + OK);
  });

  test("of HTTP/1.0 the expectation is ignored, and does not go on", () => {
    const hop = new Hop(answerEach(OK));
    hop.say("PUT / HTTP/1.0\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\nbody");
    expect(hop.statuses).toEqual([200]);
    expect(hop.seen).not.toContain("expect");
  });

  test("another expectation is the app's to judge", () => {
    const hop = new Hop(answerEach(OK));
    hop.say("GET / HTTP/1.1\r\nhost: a\r\nexpect: more\r\n\r\n");
    expect(hop.seen).toContain("expect: more\r\n");
  });
});

const asking = (upgrade: string, connection = "upgrade"): string =>
  `GET / HTTP/1.1\r\nhost: a\r\nconnection: ${connection}\r\nupgrade: ${upgrade}\r\n\r\n`;
const switching = (upgrade: string): string =>
  `HTTP/1.1 101 Switching Protocols\r\nupgrade: ${upgrade}\r\nconnection: upgrade\r\n\r\n`;

describe("RFC 9110 7.8: another protocol on the connection", () => {
  test.each(["websocket", "WebSocket", "a/1, websocket"])(
    "Upgrade: %s and its 101 make a tunnel",
    (offer) => {
      for (const way of WAYS) {
        const hop = new Hop(
          (end) => (end.text.endsWith("\r\n\r\n") ? `${switching("websocket")}hi` : undefined),
          { way },
        );
        hop.say(asking(offer));
        expect(hop.client.take()).toBe(`${switching("websocket")}hi`);
        // No HTTP any more: these bytes are whatever the two agreed on.
        hop.say("\0\r\n\xff");
        expect(hop.seen).toEndWith("\0\r\n\xff");
        hop.expectNothingLeft();
      }
    },
  );

  test.each(["h2c", "H2C", "h2", "HTTP/2.0", "http", "websocket, h2c", "h2c, websocket"])(
    "Upgrade: %s is kept from the app: behind it requests would pass that no policy has seen",
    (offer) => {
      for (const way of WAYS) {
        const hop = new Hop(answerEach(OK), { way });
        hop.say(
          asking(offer, "upgrade, http2-settings").replace(
            "upgrade: ",
            "http2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nupgrade: ",
          ),
        );
        expect(hop.client.text).toBe(OK);
        expect(hop.seen).not.toMatch(/upgrade|http2-settings/i);
        hop.expectNothingLeft();
      }
    },
  );

  test("without Connection: upgrade the offer stays on its hop", () => {
    const hop = new Hop(answerEach(OK));
    hop.say("GET / HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\n\r\n");
    expect(hop.seen).not.toContain("upgrade");
  });

  test.each(["x", "websocket, x", "h2c", ""])(
    "a 101 that chooses %p, which was not offered, is a 502",
    (chosen) => {
      expectDistrusted(switching(chosen), asking("websocket"));
    },
  );

  test("a 101 before the request is whole is a 502: its rest would be read as the new protocol", () => {
    const hop = new Hop((end) =>
      end.text.endsWith("\r\n\r\n") ? switching("websocket") : undefined,
    );
    hop.say(
      "POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 4\r\n\r\n",
    );
    expect(hop.statuses).toEqual([502]);
    hop.expectNothingLeft();
  });

  test("a request behind an offer that was declined is a request like any other", () => {
    const hop = new Hop(answerEach(OK));
    hop.say(asking("websocket") + GET);
    expect(hop.client.text).toBe(OK + OK);
    hop.expectNothingLeft();
  });

  test.each([" ", ",", "a b", "a;b"])("Upgrade: %p is no list of protocols", (value) => {
    expectRefused(asking(value), 400);
  });

  test("two fields Upgrade are refused", () => {
    expectRefused(asking("a").replace("upgrade: a", "upgrade: a\r\nupgrade: b"), 400);
  });
});

describe("the target is normalised before policy looks at it, and forwarded as it was seen", () => {
  const authorization: Authorization = {
    deny: [
      {
        policy: "default/no-admin",
        rules: [{ from: [], to: [{ paths: ["/admin"] }], when: [] }],
      },
    ],
    allow: [],
  };

  test.each([
    ["/a/../admin", "/admin"],
    ["/./admin", "/admin"],
    ["/a/%2e%2E/admin", "/admin"],
    ["/%61dmin", "/admin"],
    ["\\admin", "/admin"],
    ["/a\\..\\admin", "/admin"],
    ["/../../admin", "/admin"],
    ["/admin?x=/../y", "/admin?x=/../y"],
    ["/admin?%61\\b", "/admin?%61\\b"],
    ["http://a/x/../admin", "/admin"],
    ["/a%2Fb", "/a%2Fb"],
    ["/a%5Cb", "/a%5Cb"],
    ["/%252e%252e/admin", "/%252e%252e/admin"],
    ["//admin", "//admin"],
    ["/admin/", "/admin/"],
    ["/admin/.", "/admin/"],
    ["/a/b/..", "/a/"],
    ["/admin;x", "/admin;x"],
    ["/ADMIN", "/ADMIN"],
  ])("%s is %s", (target, meant) => {
    for (const way of WAYS) {
      for (const travel of TRAVELS) {
        const hop = new Hop(answerEach(OK), { way, travel });
        hop.say(`GET ${target} HTTP/1.1\r\nhost: a\r\n\r\n`);
        expect(hop.seen).toStartWith(`GET ${meant} HTTP/1.1\r\n`);
      }
    }
    const guarded = new Hop(answerEach(OK), { way: "inbound" });
    guarded.mesh.swapServer({ workloads: [serverWorkload({ authorization })] });
    guarded.say(`GET ${target} HTTP/1.1\r\nhost: a\r\n\r\n`);
    const isDenied = meant.split("?")[0] === "/admin";
    expect(guarded.statuses).toEqual([isDenied ? 403 : 200]);
    expect(guarded.seen === "").toBe(isDenied);
  });
});
