// HTTP through two real agents, their redirects and mTLS between them: what clients and apps may do that RFC 9112 lets them.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { ADDRESS, canRun } from "../support/hosts.ts";
import type { Remote } from "../support/remote.ts";
import { Mesh } from "./mesh.ts";
import { DATAGRAMS, UID } from "./ports.ts";

setDefaultTimeout(60_000);
const can = await canRun("HTTP end to end");

let mesh: Mesh;
let client: Remote;
let vip: { vip4: string; vip6: string };

beforeAll(async () => {
  if (!can) return;
  const startedMs = performance.now();
  mesh = await Mesh.up();
  client = await mesh.remote("a", UID.client);
  vip = await mesh.vipOf("web.default.mesh");
  console.log(`mesh up after ${Math.round(performance.now() - startedMs)} ms`);
});
afterAll(() => mesh?.down());

describe.skipIf(!can)("requests and answers", () => {
  test("a service is reached by name, over IPv4 and IPv6, and the app sees who called", async () => {
    for (const family of ["-4", "-6"]) {
      const { body, code } = await mesh.curl(family, "http://web/hello");
      expect(code).toBe("200");
      const seen = JSON.parse(body);
      expect(seen.url).toBe("/hello");
      expect(seen["x-forwarded-client-cert"]).toMatch(
        /By=spiffe:.*\/sa\/backend;URI=spiffe:.*\/sa\/client$/,
      );
    }
  });

  test("pipelined requests are answered in order, on a port whose protocol is declared and on one where it is detected", async () => {
    const paths = Array.from({ length: 40 }, (_, i) =>
      i % 3 === 0 ? `/slow/${20 - (i % 20)}` : `/p${i}`,
    );
    const send = paths.map((path) => `GET ${path} HTTP/1.1\r\nhost: web\r\n\r\n`).join("");
    const last = `GET /last HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n`;
    for (const port of [80, 81]) {
      const said = { host: vip.vip4, port, send: send + last, withinMs: 10_000 };
      const { text, how } = await client.run((kit, o) => kit.converse(o), said);
      expect(how).toBe("end");
      expect(text.match(/HTTP\/1\.1 200/g)).toHaveLength(41);
      const answered = [...text.matchAll(/slow\n|"url":"([^"]+)"/g)].map(
        ([all, url]) => url ?? all,
      );
      expect(answered).toEqual([
        ...paths.map((path) => (path.startsWith("/slow") ? "slow\n" : path)),
        "/last",
      ]);
    }
  });

  test("chunked bodies pass both ways, 100-continue is asked and given", async () => {
    const chunked = ["-H", "transfer-encoding: chunked", "-H", "expect: 100-continue"];
    const up = await mesh.curl(
      ...chunked,
      "-v",
      "--data-binary",
      "x".repeat(100_000),
      "http://web/count",
    );
    expect(up.body).toBe("100000\n");
    const down = await mesh.curl("http://web/chunked/300000");
    expect(down.body).toHaveLength(300_000);
    const continued = await client.run((kit, o) => kit.converse(o), {
      host: vip.vip4,
      port: 80,
      send: "POST /count HTTP/1.1\r\nhost: web\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n",
      until: "100 Continue\r\n\r\n",
    });
    expect(continued.how).toBe("enough");
    expect(continued.text).toStartWith("HTTP/1.1 100 Continue\r\n");
  });
});

describe.skipIf(!can)(
  "bodies that are not there, and connections that become something else",
  () => {
    test("HEAD and 204 have no body, and the next answer begins right behind them", async () => {
      const send = [
        "HEAD /size/5000 HTTP/1.1\r\nhost: web\r\n\r\n",
        "GET /status/204 HTTP/1.1\r\nhost: web\r\n\r\n",
        "GET /status/304 HTTP/1.1\r\nhost: web\r\n\r\n",
        "GET /size/16 HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n",
      ].join("");
      const { text, how } = await client.run((kit, o) => kit.converse(o), {
        host: vip.vip4,
        port: 80,
        send,
      });
      expect(how).toBe("end");
      const [head, empty, unchanged, sized, ...more] = text.split(/(?=HTTP\/1\.1 )/);
      expect(more).toEqual([]);
      expect(head).toMatch(/^HTTP\/1\.1 200 .*content-length: 5000\r\n.*\r\n\r\n$/is);
      expect(empty).toMatch(/^HTTP\/1\.1 204 .*\r\n\r\n$/s);
      expect(unchanged).toMatch(/^HTTP\/1\.1 304 .*\r\n\r\n$/s);
      expect(sized).toEndWith("\r\n\r\n0123456789abcdef");
    });

    test("an Upgrade becomes a tunnel that carries bytes both ways until both are done", async () => {
      const tunnel = await client.run((kit, host) => {
        return new Promise<string>((resolve) => {
          let text = "";
          const socket = kit.connect({ host, port: 80, allowHalfOpen: true });
          socket.write(
            "GET /chat HTTP/1.1\r\nhost: web\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n",
          );
          socket.on("data", (bytes) => {
            text += bytes.toString("latin1");
            if (text.endsWith("\r\n\r\n")) socket.write("\x00\x01GET / HTTP/9\r\n");
            else if (text.endsWith("HTTP/9\r\n")) socket.end("bye");
          });
          socket.on("end", () => resolve(text));
          socket.on("error", (error) => resolve(`${text}${error.message}`));
        });
      }, vip.vip4);
      expect(tunnel).toMatch(/^HTTP\/1\.1 101 Switching Protocols\r\n/);
      expect(tunnel).toEndWith("\r\n\r\n\x00\x01GET / HTTP/9\r\nbye");
    });

    test("an answer that comes in the middle of a large upload reaches the client whole", async () => {
      const early = await client.run((kit, host) => {
        return new Promise<string>((resolve) => {
          let text = "";
          const socket = kit.connect(80, host);
          socket.write("POST /early HTTP/1.1\r\nhost: web\r\ncontent-length: 50000000\r\n\r\n");
          const piece = Buffer.alloc(65_536, "u");
          const push = (): void => {
            while (!socket.destroyed && socket.write(piece));
          };
          socket.on("drain", push);
          push();
          socket.on("data", (bytes) => {
            text += bytes.toString("latin1");
            if (text.includes("too much\n")) {
              socket.destroy();
              resolve(text);
            }
          });
          socket.on("close", () => resolve(text));
          socket.on("error", () => {});
        });
      }, vip.vip4);
      expect(early).toStartWith("HTTP/1.1 413 ");
      expect(early).toContain("too much\n");
    });
  },
);

describe.skipIf(!can)("ends and refusals", () => {
  test("a client that ends its direction after the request still gets the whole answer", async () => {
    const send = "GET /slow/100 HTTP/1.1\r\nhost: web\r\n\r\n";
    const asked = { host: vip.vip4, port: 80, send, ends: true };
    const { text, how } = await client.run((kit, o) => kit.converse(o), asked);
    expect(how).toBe("end");
    expect(text).toEndWith("slow\n");
  });

  test("an ambiguous request gets 400 and a closed connection, and the app never hears of it", async () => {
    const send =
      "POST /smuggled HTTP/1.1\r\nhost: web\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /more HTTP/1.1\r\nhost: web\r\n\r\n";
    const { text, how } = await client.run((kit, o) => kit.converse(o), {
      host: vip.vip4,
      port: 80,
      send,
    });
    expect(how).toBe("end");
    expect(text).toStartWith("HTTP/1.1 400 ");
    expect(text.match(/HTTP\/1\.1 /g)).toHaveLength(1);
    expect(mesh.log("agent-b")).not.toContain("smuggled");
  });
});

describe.skipIf(!can)("datagrams", () => {
  test("to a port that is declared UDP while agents run go through both, sealed, and are answered", async () => {
    const app = await mesh.remote("b", UID.datagrams);
    await app.run((kit, port) => kit.echoDatagrams(port), DATAGRAMS.echo);
    await mesh.apply(LOGS);
    const { vip4, vip6 } = await mesh.vipOf("logs.default.mesh");
    for (const host of [vip4, vip6]) {
      const asked = { host, port: 514, sizes: [1, 1_400, 20_000], withinMs: 10_000 };
      const answers = await client.run((kit, o) => kit.datagrams(o), asked);
      expect(answers.map(Number).toSorted((a, b) => a - b)).toEqual([1, 1_400, 20_000]);
    }
    const labels = ['reporter="destination"', 'connection_security_policy="mutual_tls"'];
    const metric = "ironmesh_udp_received_datagrams_total";
    expect(await mesh.metric("b", metric, ...labels, '/sa/client"')).toBe(6);
  });

  test("to a service outside the mesh go there as they are, and their answers come from where they were sent", async () => {
    const app = await mesh.remote("c", UID.outside);
    await app.run((kit, port) => kit.echoDatagrams(port), DATAGRAMS.undeclared);
    await mesh.apply(OUTSIDE);
    const { vip4, vip6 } = await mesh.vipOf("statsd.example");
    for (const host of [vip4, vip6]) {
      const asked = { host, port: 8125, sizes: [1, 1_400, 20_000], withinMs: 10_000 };
      const answers = await client.run((kit, o) => kit.datagrams(o), asked);
      expect(answers.map(Number).toSorted((a, b) => a - b)).toEqual([1, 1_400, 20_000]);
    }
    const labels = ['reporter="source"', 'connection_security_policy="none"'];
    const metric = "ironmesh_udp_received_datagrams_total";
    expect(await mesh.metric("a", metric, ...labels, '/sa/client"')).toBe(6);
  });
});

const OUTSIDE = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: statsd }
spec:
  hosts: [statsd.example]
  resolution: STATIC
  ports: [{ number: 8125, targetPort: ${DATAGRAMS.undeclared}, name: udp-statsd, protocol: UDP }]
  endpoints: [{ address: ${ADDRESS.c} }]
`;

const LOGS = `
apiVersion: ironmesh.dev/v1
kind: Workload
metadata: { name: logs }
spec:
  hosts: [b]
  serviceAccount: backend
  process: { uid: ${UID.datagrams} }
  services:
    - name: logs
      ports: [{ port: 514, targetPort: ${DATAGRAMS.echo}, name: udp-syslog }]
`;
