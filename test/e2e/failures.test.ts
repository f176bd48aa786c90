// What can go wrong on the way, and the limits: each failure has its status and its flag in the access log, and what is limited is
// limited over all four threads of an agent.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { canRun, eventually } from "../support/hosts.ts";
import type { Remote } from "../support/remote.ts";
import { Mesh } from "./mesh.ts";
import { OUTSIDE, UID } from "./ports.ts";

setDefaultTimeout(60_000);
const CONNECTIONS_MAX = 60;
const can = await canRun("failures and limits");
let mesh: Mesh;
let client: Remote;

beforeAll(async () => {
  if (!can) return;
  const http = [
    "--http-headers-max",
    "120",
    "--http-header-seconds",
    "2",
    "--http-body-seconds",
    "2",
  ];
  mesh = await Mesh.up(["--connections-max", `${CONNECTIONS_MAX}`, ...http]);
  client = await mesh.remote("a", UID.client);
  const outside = await mesh.remote("c", UID.outside);
  await outside.run(
    async (kit, fine, failing) => {
      for (const [port, status] of [
        [fine, 200],
        [failing, 500],
      ] as const) {
        const server = kit.createHttpServer((_request, response) => {
          response.writeHead(status);
          response.end(`${status}\n`);
        });
        await new Promise<void>((resolve) => server.listen(port, "::", resolve));
      }
    },
    OUTSIDE.fine,
    OUTSIDE.failing,
  );
});
afterAll(() => mesh?.down());

describe.skipIf(!can)("a request that cannot be served", () => {
  for (const [what, url, code, flags] of [
    ["no route", "http://narrow.test/elsewhere", "404", "NR"],
    ["no endpoint", "http://empty.test/no-endpoint", "503", "UH"],
    ["a failed connect", "http://once.test/refused", "503", "UF"],
    ["a route's timeout", "http://slow.test/slow/5000", "504", "UT"],
  ] as const) {
    test(`for ${what} is ${code}, and ${flags} in the access log`, async () => {
      const answer = await mesh.curl(url);
      expect(answer.code).toBe(code);
      const record = await mesh.accessOf("a", new URL(url).pathname);
      expect([record.response_code, record.response_flags]).toEqual([Number(code), flags]);
      if (flags === "UT") expect(answer.seconds).toBeWithin(0.25, 2);
    });
  }

  test("since its app is down is 503 UF, told by the app's own agent", async () => {
    expect((await mesh.curl("http://web:82/app-is-down")).code).toBe("503");
    expect((await mesh.accessOf("b", "/app-is-down")).response_flags).toBe("UF");
  });

  test("by one endpoint is tried at another when the connect fails", async () => {
    for (let i = 0; i < 10; i++) expect((await mesh.curl("http://retried.test/")).code).toBe("200");
  });

  test("again and again by one endpoint takes it out of the balancer", async () => {
    // As many connections as requests: the failures are spread over four threads.
    const codes: string[] = [];
    for (let i = 0; i < 30; i++) codes.push((await mesh.curl("http://shaky.test/")).code);
    const failures = codes.filter((code) => code === "500").length;
    console.log(`outlier ejection: ${failures} of 30 requests met the failing endpoint`);
    expect(failures).toBeWithin(3, 8);
    expect(codes.slice(-15)).toEqual(Array(15).fill("200"));
    expect(await mesh.metric("a", "ironmesh_endpoint_ejections_total")).toBe(1);
  });
});

describe.skipIf(!can)("limits hold over four threads together", () => {
  test("maxConnections 2 and http1MaxPendingRequests 3: of 20 requests at once 5 are served, the rest is 503 UO", async () => {
    const { vip4 } = await mesh.vipOf("limited.default.mesh");
    const texts = await client.run(async (kit, host) => {
      const send = "GET /slow/400 HTTP/1.1\r\nhost: limited\r\nconnection: close\r\n\r\n";
      const all = Array.from({ length: 20 }, () => kit.converse({ host, port: 80, send }));
      return (await Promise.all(all)).map(({ text }) => text.slice(9, 12));
    }, vip4);
    console.log(`pool limits: ${texts.join(" ")}`);
    expect(texts.filter((code) => code === "200")).toHaveLength(5);
    expect(texts.filter((code) => code === "503")).toHaveLength(15);
    expect((await mesh.accessOf("a", "/slow/400")).response_flags).toBe("UO");
    const after = await mesh.curl("http://limited/again");
    expect(after.code).toBe("200"); // nothing stays counted
  });

  test("a RateLimit of 6: of 24 requests of one user on connections of their own 6 are served, the rest is 429 RL; the next user has 6 more", async () => {
    const { vip4 } = await mesh.vipOf("web.default.mesh");
    const codesOf = (user: string, path = "/rationed/a"): Promise<string[]> =>
      client.run(
        async (kit, host, name, target) => {
          const send = `GET ${target} HTTP/1.1\r\nhost: web\r\nx-user: ${name}\r\nconnection: close\r\n\r\n`;
          const all = Array.from({ length: 24 }, () => kit.converse({ host, port: 80, send }));
          return (await Promise.all(all)).map(({ text }) => text.slice(9, 12));
        },
        vip4,
        user,
        path,
      );
    for (const user of ["ann", "bob"]) {
      const codes = await codesOf(user);
      expect(codes.filter((code) => code === "200")).toHaveLength(6);
      expect(codes.filter((code) => code === "429")).toHaveLength(18);
    }
    await codesOf("ann", "/rationed/in-vain");
    const refused = await mesh.accessOf("b", "/rationed/in-vain");
    expect([refused.response_code, refused.response_flags]).toEqual([429, "RL"]);
    expect(await mesh.metric("b", "ironmesh_rate_limited_total")).toBe(18 + 18 + 24);
  });

  test("--http-headers-max, --http-header-seconds and --http-body-seconds hold for clients of this agent", async () => {
    const { vip4 } = await mesh.vipOf("web.default.mesh");
    const fields = (count: number): string =>
      Array.from({ length: count }, (_, i) => `x-${i}: 1\r\n`).join("");
    const last = (line: string, more: string): string =>
      `${line} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n${more}`;
    const said = [
      last("GET /status/200", `${fields(97)}\r\n`),
      last("GET /status/200", `${fields(119)}\r\n`),
      last("GET /slow-head", "x: "),
      last("POST /count", "content-length: 100\r\n\r\nonly this"),
    ];
    const heard = await client.run(
      (kit, host, texts) =>
        Promise.all(texts.map((send) => kit.converse({ host, port: 80, send, withinMs: 8_000 }))),
      vip4,
      said,
    );
    expect(heard.map(({ text }) => text.slice(9, 12))).toEqual(["200", "431", "408", "408"]);
    for (const { ms } of heard.slice(2)) expect(ms).toBeWithin(1_900, 4_000);
  });

  test(`--connections-max ${CONNECTIONS_MAX}: what comes beyond is reset, and there is room again once they close`, async () => {
    const { vip4 } = await mesh.vipOf("web.default.mesh");
    const left = await eventually("all closed", async () => {
      const status = await mesh.status("a");
      return status?.openConnections === 0 && "none";
    });
    expect(left).toBe("none");
    const counts = await client.run(async (kit, host) => {
      const open = await Promise.all(
        Array.from({ length: 100 }, (_, i) => {
          const socket = kit.connect(80, host);
          kit.sockets.set(`held${i}`, socket);
          socket.write("GET /held HTTP/1.1\r\nhost: web\r\n\r\n");
          return new Promise<boolean>((resolve) => {
            socket.once("data", () => resolve(true));
            socket.once("error", () => resolve(false));
            socket.once("close", () => resolve(false));
          });
        }),
      );
      return open.filter(Boolean).length;
    }, vip4);
    console.log(`connections-max ${CONNECTIONS_MAX}: ${counts} of 100 were served`);
    expect(counts).toBe(CONNECTIONS_MAX);
    await client.run((kit) => {
      for (const socket of kit.sockets.values()) socket.destroy();
    });
    await eventually("room again", async () => (await mesh.status("a"))?.openConnections === 0);
    expect((await mesh.curl("http://web/after")).code).toBe("200");
  });
});
