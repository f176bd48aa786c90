// TLS that is carried as it comes: routed by whom the ClientHello wants, admitted by it, and never changed.
import { describe, expect, test } from "bun:test";
import {
  helloFor,
  message,
  nameEntry,
  record,
  sni,
} from "../../test/support/client-hello-bytes.ts";
import {
  CLIENT_ID,
  cluster,
  endpoint,
  type FixtureOptions,
  MeshFixture,
  NO_HEADERS,
  SERVER_NAME,
  serverWorkload,
  service,
  VIP,
} from "../../test/support/mesh-fixture.ts";
import { latin1 } from "../../test/support/naive-http1.ts";
import { TextEnd } from "../../test/support/text-stream.ts";
import type { Authorization } from "../policy/authorization-rules.ts";
import type { Destination, ServicePort, Snapshot, TcpRoute } from "../policy/snapshot.ts";

const TO = { address: VIP, port: 443 };
const OTHERS = "10.0.0.3";
const to = (index: number, weight = 100): Destination => ({
  cluster: index,
  weight,
  headers: NO_HEADERS,
});
const routed = (name: string, serverNames: string[], ...destinations: Destination[]): TcpRoute => ({
  name,
  matches: [{ serverNames }],
  destinations,
});
const tlsPort = (tlsRoutes?: TcpRoute[]): ServicePort => ({
  port: 443,
  name: "https",
  protocol: "tcp",
  isTls: true,
  httpRoutes: [],
  tcpRoutes: [{ name: "default", matches: [], destinations: [to(0)] }],
  ...(tlsRoutes === undefined ? {} : { tlsRoutes }),
  cluster: 0,
});

/** The service has two clusters: v1 over the mesh on 10.0.0.2, v2 in plaintext on 10.0.0.3. Each answers what it is. */
function meshOf(port: ServicePort, options: FixtureOptions = {}, changes: Partial<Snapshot> = {}) {
  const mesh = new MeshFixture({ accessLog: "on", ...options });
  const swap = (ports: readonly ServicePort[], more: Partial<Snapshot> = {}): void =>
    mesh.swapClient({
      services: [service({ ports })],
      clusters: [
        cluster({ name: "outbound|443|v1|server.default.mesh" }),
        cluster({ name: "outbound|443|v2|server.default.mesh", endpoints: [1] }),
      ],
      endpoints: [
        endpoint(0),
        endpoint(1, { address: OTHERS, id: `${OTHERS}:8080`, mesh: undefined }),
      ],
      ...changes,
      ...more,
    });
  swap([port]);
  const inbound = serverWorkload().ports.map((one) => ({ ...one, protocol: "tcp" as const }));
  mesh.swapServer({ workloads: [serverWorkload({ ports: inbound })] });
  const ends: TextEnd[] = [];
  const answer = (word: string) => (stream: Parameters<TextEnd["attach"]>[0]) => {
    const end = new TextEnd().attach(stream);
    ends.push(end);
    end.onText = () => end.stream?.write(new TextEncoder().encode(word), 0, word.length);
  };
  mesh.server.network.listen(8080, answer("1"));
  mesh.fabric.host(OTHERS).listen(8080, answer("2"));
  const dial = (where = TO): TextEnd => {
    const end = new TextEnd();
    return end.attach(mesh.client.dialOut(where, end));
  };
  const settle = (ms = 200): void => {
    mesh.clock.pass(ms);
    expect(mesh.bugs).toEqual([]);
  };
  const say = (bytes: number[], where = TO): TextEnd => {
    const client = dial(where);
    client.send(Uint8Array.from(bytes));
    settle();
    return client;
  };
  const refusals = (reason: string): number =>
    mesh.client.count("ironmesh_connections_refused_total", { reason });
  return { mesh, ends, dial, settle, say, swap, refusals };
}

const TWO = [
  routed("default/x:0", ["a.example"], to(0)),
  routed("default/x:1", ["*.b.example"], to(1)),
];

describe("a ClientHello", () => {
  test("is sent where its server name is routed, and told in log and metrics", () => {
    const { mesh, say } = meshOf(tlsPort(TWO));
    const first = say(helloFor("a.example"));
    const second = say(helloFor("Deep.Down.B.Example"));
    expect([first.text, second.text]).toEqual(["1", "2"]);
    for (const client of [first, second]) client.stream?.reset();
    mesh.clock.pass(100);
    expect(mesh.client.records()).toMatchObject([
      {
        requested_server_name: "a.example",
        upstream_cluster: "outbound|443|v1|server.default.mesh",
        route_name: "default/x:0",
        response_flags: "-",
      },
      {
        requested_server_name: "deep.down.b.example",
        upstream_cluster: "outbound|443|v2|server.default.mesh",
        upstream_host: `${OTHERS}:8080`,
        route_name: "default/x:1",
      },
    ]);
    const opened = { reporter: "source", destination_service: "server.default.mesh" };
    expect(mesh.client.count("istio_tcp_connections_opened_total", opened)).toBe(2);
  });

  test("arrives byte for byte, however it was cut, and with all that followed it", () => {
    const whole = message({ extensions: sni(nameEntry("a.example")) });
    const inRecords = [...record(whole.slice(0, 7)), ...record(whole.slice(7)), 20, 3, 3, 0, 1, 1];
    for (let seed = 1; seed < 12; seed++) {
      const { ends, settle, dial } = meshOf(tlsPort(TWO), { seed, network: { splits: true } });
      const client = dial();
      const bytes = Uint8Array.from(inRecords);
      const cut = Math.floor((bytes.length * seed) / 12);
      client.send(bytes.slice(0, cut));
      settle(500);
      client.send(bytes.slice(cut));
      client.send("and more");
      client.end();
      settle(1000);
      expect(ends[0]?.text).toBe(`${latin1(bytes)}and more`);
      expect(ends[0]?.hasEnded).toBe(true);
    }
  });

  test("is shared out by weight", () => {
    const { say } = meshOf(tlsPort([routed("r", ["a.example"], to(0, 25), to(1, 75))]));
    const answers = Array.from({ length: 60 }, () => say(helloFor("a.example")).text);
    const firsts = answers.filter((text) => text === "1").length;
    expect(firsts).toBeGreaterThan(5);
    expect(firsts).toBeLessThan(30);
    expect(answers.filter((text) => text === "2").length).toBe(60 - firsts);
  });

  test("that no route is for is refused, and the refusal names it", () => {
    const { mesh, say, ends, refusals } = meshOf(tlsPort(TWO));
    for (const name of ["b.example", "xb.example", "a.example.org", undefined])
      expect(say(helloFor(name)).closed).toEqual({ is: "failed", code: "ECONNRESET" });
    expect(ends).toEqual([]);
    expect(refusals("no_route")).toBe(4);
    expect(mesh.client.refusals.map(({ by, serverName }) => [by, serverName])).toEqual([
      ["no_route", "b.example"],
      ["no_route", "xb.example"],
      ["no_route", "a.example.org"],
      ["no_route", undefined],
    ]);
    expect(mesh.client.plane.openConnections).toBe(0);
  });

  test("without a name is taken by a route for all", () => {
    const { say } = meshOf(tlsPort([...TWO, routed("rest", ["*"], to(1))]));
    expect(say(helloFor()).text).toBe("2");
    expect(say(helloFor("a.example")).text).toBe("1");
  });

  test("whose route has nobody left is refused", () => {
    const { say, refusals } = meshOf(tlsPort(TWO), {}, { clusters: [cluster({ endpoints: [] })] });
    expect(say(helloFor("a.example")).closed?.is).toBe("failed");
    expect(refusals("no_healthy_upstream")).toBe(1);
    expect(say(helloFor("x.b.example")).closed?.is).toBe("failed");
    expect(refusals("no_route")).toBe(1);
  });

  test("is routed by the snapshot that stands when it is whole", () => {
    const { dial, settle, swap } = meshOf(tlsPort(TWO));
    const client = dial();
    const bytes = Uint8Array.from(helloFor("a.example"));
    client.send(bytes.slice(0, 20));
    settle();
    swap([tlsPort([routed("other", ["a.example"], to(1))])]);
    client.send(bytes.slice(20));
    settle();
    expect(client.text).toBe("2");
  });
});

describe("where a route hangs on the name", () => {
  const CASES: Record<string, number[]> = {
    "HTTP in the clear": [..."GET / HTTP/1.1\r\n"].map((c) => c.charCodeAt(0)),
    "an SSLRequest of PostgreSQL": [0, 0, 0, 8, 4, 210, 22, 47],
    "a hello with two names": record(
      message({ extensions: sni(nameEntry("a.example"), nameEntry("b.example")) }),
    ),
    "a hello that is too long": record([1, 1, 0, 0, 3, 3]),
  };
  for (const [what, bytes] of Object.entries(CASES))
    test(`${what} is refused at once`, () => {
      const { say, refusals, mesh, ends } = meshOf(tlsPort(TWO));
      expect(say(bytes).closed).toEqual({ is: "failed", code: "ECONNRESET" });
      expect(refusals("not_tls")).toBe(1);
      expect(mesh.client.plane.openConnections).toBe(0);
      expect(ends).toEqual([]);
    });

  test("a slow or silent client is waited for no longer than helloTimeoutMs", () => {
    const { dial, settle, refusals, mesh } = meshOf(tlsPort(TWO), {
      config: { helloTimeoutMs: 3_000 },
    });
    const silent = dial();
    const slow = dial();
    for (const byte of helloFor("a.example").slice(0, 14)) {
      slow.send(Uint8Array.of(byte));
      settle(200);
    }
    expect([silent.closed, slow.closed]).toEqual([undefined, undefined]);
    settle(400);
    expect([silent.closed?.is, slow.closed?.is]).toEqual(["failed", "failed"]);
    expect(refusals("hello_timeout")).toBe(2);
    expect(mesh.client.plane.openConnections).toBe(0);
  });

  test("a client that gives up half way leaves nothing behind", () => {
    const { dial, settle, mesh, refusals } = meshOf(tlsPort(TWO));
    const bytes = Uint8Array.from(helloFor("a.example").slice(0, 30));
    const ended = dial();
    ended.send(bytes);
    ended.end();
    const never = dial();
    never.end();
    const reset = dial();
    reset.send(bytes);
    settle();
    reset.stream?.reset();
    settle();
    expect(refusals("not_tls")).toBe(1);
    expect(never.closed?.is).toBe("ended");
    expect(mesh.client.plane.openConnections).toBe(0);
    settle(20_000);
  });
});

describe("a port of TLS without routes by name", () => {
  test("carries what is TLS, and says in the log whom it wanted", () => {
    const { mesh, say, settle } = meshOf(tlsPort());
    const client = say(helloFor("whoever.example"));
    expect(client.text).toBe("1");
    client.stream?.reset();
    settle();
    expect(mesh.client.records()[0]).toMatchObject({
      requested_server_name: "whoever.example",
      route_name: "default",
    });
  });

  test("carries what is none as it comes, without delay", () => {
    const { say } = meshOf(tlsPort());
    expect(say([0, 0, 0, 8, 4, 210, 22, 47]).text).toBe("1");
    expect(say(helloFor("a.example").slice(0, 12)).text).toBe("");
  });

  test("waits once for a client that lets the server speak first", () => {
    const { mesh, dial, settle } = meshOf(tlsPort());
    mesh.server.network.listen(
      8080,
      (stream) => void new TextEnd().attach(stream).send("220 hello"),
    );
    const first = dial();
    settle(900);
    expect(first.text).toBe("");
    settle(300);
    expect(first.text).toBe("220 hello");
    const second = dial();
    settle(100);
    expect(second.text).toBe("220 hello");
  });
});

describe("an address that the mesh does not know", () => {
  const AWAY = { address: "10.0.0.3", port: 443 };
  const STRANGER = { endpoints: [endpoint(0)], clusters: [cluster()] };
  const away = (mesh: MeshFixture): void =>
    mesh.fabric.host("10.0.0.3").listen(443, (stream) => {
      const end = new TextEnd().attach(stream);
      end.onText = () => end.stream?.write(Uint8Array.of(51), 0, 1);
    });

  test("leads to the service that the client asks for by name", () => {
    const { mesh, say, settle } = meshOf(tlsPort(), {}, STRANGER);
    away(mesh);
    const client = say(helloFor("server.default"), AWAY);
    expect(client.text).toBe("1");
    client.stream?.reset();
    settle();
    expect(mesh.client.records()[0]).toMatchObject({
      requested_server_name: "server.default",
      downstream_local_address: "10.0.0.3:443",
      upstream_cluster: "outbound|80||server.default.mesh",
    });
  });

  test("is where everything else goes under ALLOW_ANY, TLS or not", () => {
    const { mesh, say, settle } = meshOf(tlsPort(TWO), {}, STRANGER);
    away(mesh);
    const client = say(helloFor("elsewhere.example"), AWAY);
    expect(client.text).toBe("3");
    expect(say(helloFor(), AWAY).text).toBe("3");
    expect(say([1, 2, 3], AWAY).text).toBe("3");
    client.stream?.reset();
    settle();
    expect(mesh.client.records()[0]).toMatchObject({
      requested_server_name: "elsewhere.example",
      upstream_cluster: "PassthroughCluster|10.0.0.3:443",
    });
  });

  test("is refused under REGISTRY_ONLY unless the name is one of the mesh", () => {
    const only = { ...STRANGER, outboundPolicy: "registry_only" as const };
    const { mesh, say, dial, settle, refusals } = meshOf(tlsPort(), {}, only);
    away(mesh);
    expect(say(helloFor("server"), AWAY).text).toBe("1");
    expect(say(helloFor("elsewhere.example"), AWAY).closed?.is).toBe("failed");
    expect(say(helloFor(), AWAY).closed?.is).toBe("failed");
    expect(refusals("no_route")).toBe(2);
    expect(say([1, 2, 3], AWAY).closed?.is).toBe("failed");
    expect(refusals("not_tls")).toBe(1);
    dial(AWAY);
    settle(10_500);
    expect(refusals("hello_timeout")).toBe(1);
  });
});

describe("services that are known by their server name alone", () => {
  const AWAY = { address: "10.0.0.9", port: 443 };
  const ELSEWHERE = { address: "10.0.0.8", port: 443 };
  const named = (host: string, cluster: number): Partial<Snapshot["services"][number]> => ({
    host,
    name: host,
    names: [host],
    vip4: undefined,
    isExternal: true,
    ports: [
      {
        ...tlsPort(),
        tcpRoutes: [{ name: "default", matches: [], destinations: [to(cluster)] }],
        cluster,
      },
    ],
  });
  const limits = { ...cluster().limits, maxConnections: 1 };
  const byName = (outboundPolicy: Snapshot["outboundPolicy"]) => {
    const changes: Partial<Snapshot> = {
      outboundPolicy,
      services: [
        service(named("*.wild.example", 0)),
        service(named("*.deep.wild.example", 1)),
        service(named("one.wild.example", 2)),
      ],
      clusters: [
        cluster({ name: "outbound|443||*.wild.example", endpoints: [], isOriginalDst: true }),
        cluster({ name: "outbound|443||*.deep.wild.example", service: 1, endpoints: [1] }),
        cluster({
          name: "outbound|443||one.wild.example",
          service: 2,
          endpoints: [],
          isOriginalDst: true,
          limits,
          slots: { connections: 20, pending: 21, requests: 22, retries: 23 },
        }),
      ],
    };
    const fixture = meshOf(tlsPort(), {}, changes);
    for (const [address, word] of [
      ["10.0.0.9", "9"],
      ["10.0.0.8", "8"],
    ] as const)
      fixture.mesh.fabric.host(address).listen(443, (stream) => {
        const end = new TextEnd().attach(stream);
        end.onText = () => end.stream?.write(new TextEncoder().encode(word), 0, 1);
      });
    return fixture;
  };

  test("are where the client was going, and counted and logged as themselves", () => {
    const { mesh, say, settle, ends } = byName("registry_only");
    const client = say(helloFor("x.wild.example"), AWAY);
    expect(client.text).toBe("9");
    expect(say(helloFor("y.wild.example"), ELSEWHERE).text).toBe("8");
    expect(say(helloFor("x.deep.wild.example"), AWAY).text).toBe("2");
    expect(ends).toHaveLength(1);
    client.stream?.reset();
    settle();
    expect(mesh.client.records()[0]).toMatchObject({
      requested_server_name: "x.wild.example",
      upstream_cluster: "outbound|443||*.wild.example",
      upstream_host: "10.0.0.9:443",
    });
    const labels = { destination_service: "*.wild.example", connection_security_policy: "none" };
    expect(mesh.client.count("istio_tcp_connections_opened_total", labels)).toBe(2);
  });

  test("open what REGISTRY_ONLY shuts, by name and by nothing else", () => {
    const { say, refusals } = byName("registry_only");
    for (const name of ["wild.example", "xwild.example", "x.other.example", undefined])
      expect(say(helloFor(name), AWAY).closed?.is).toBe("failed");
    expect(refusals("no_route")).toBe(4);
    expect(say([1, 2, 3], AWAY).closed?.is).toBe("failed");
    // Another port than the one that is declared.
    expect(say(helloFor("x.wild.example"), { ...AWAY, port: 444 }).closed?.is).toBe("failed");
  });

  test("under ALLOW_ANY others go where they were going as nobody's", () => {
    const { mesh, say, settle } = byName("allow_any");
    const client = say(helloFor("x.other.example"), AWAY);
    expect(client.text).toBe("9");
    client.stream?.reset();
    settle();
    expect(mesh.client.records()[0]?.["upstream_cluster"]).toBe("PassthroughCluster|10.0.0.9:443");
  });

  test("share their limits over all addresses, and let go of them", () => {
    const { mesh, say, settle, refusals, swap } = byName("registry_only");
    const first = say(helloFor("one.wild.example"), AWAY);
    expect(first.text).toBe("9");
    expect(say(helloFor("one.wild.example"), ELSEWHERE).closed?.is).toBe("failed");
    expect(refusals("overflow")).toBe(1);
    swap([tlsPort()]); // the same again: what is open lives on
    expect(mesh.client.slots.read(20)).toBe(1);
    first.stream?.reset();
    settle();
    expect(mesh.client.slots.read(20)).toBe(0);
    expect(say(helloFor("one.wild.example"), ELSEWHERE).text).toBe("8");
  });

  test("are never looked for at the mesh's own addresses", () => {
    const { say, refusals } = byName("allow_any");
    const virtual = { address: "240.240.9.9", port: 443 };
    expect(say(helloFor("one.wild.example"), virtual).closed?.is).toBe("failed");
    expect(refusals("no_service")).toBe(1);
  });
});

describe("connection.sni, where the app terminates TLS", () => {
  const rule = (
    values: string[],
    key: "values" | "notValues" = "values",
  ): Authorization["allow"] => [
    {
      policy: "default/names",
      rules: [{ from: [], to: [], when: [{ key: { is: "connection.sni" }, [key]: values }] }],
    },
  ];
  const PORTS = serverWorkload().ports.map((port) => ({
    ...port,
    protocol: "tcp" as const,
    isTls: true as const,
  }));
  const admitting = (authorization: Authorization) => {
    const fixture = meshOf(tlsPort());
    const swapServer = (next: Authorization): void =>
      fixture.mesh.swapServer({
        workloads: [serverWorkload({ ports: PORTS, authorization: next })],
      });
    swapServer(authorization);
    const arrive = (bytes: number[], isMesh = false): TextEnd => {
      const end = new TextEnd();
      const from = isMesh
        ? {
            address: "10.0.0.1",
            mesh: { identity: CLIENT_ID, serverName: SERVER_NAME, alpn: "ironmesh/1+opaque" },
          }
        : { address: "10.9.9.9", to: { address: "10.0.0.2", port: 8080 } };
      end.attach(fixture.mesh.server.arrive(end, from));
      end.send(Uint8Array.from(bytes));
      fixture.settle();
      return end;
    };
    return { ...fixture, swapServer, arrive };
  };

  test("admits by ALLOW whom the client asks for, over the mesh and in plaintext", () => {
    const { say, arrive, mesh } = admitting({ deny: [], allow: rule(["*.example"]) });
    expect(say(helloFor("a.example")).text).toBe("1");
    expect(arrive(helloFor("a.example")).text).toBe("1");
    for (const bytes of [helloFor("a.test"), helloFor()]) {
      expect(say(bytes).closed?.is).toBe("failed");
      expect(arrive(bytes).closed?.is).toBe("failed");
    }
    const denied = mesh.server.refusals.map(({ by, cause, serverName }) => [by, cause, serverName]);
    expect(denied[0]).toEqual(["default/names", "authorization", "a.test"]);
    expect(denied).toHaveLength(4);
  });

  test("refuses by DENY, and what hides its name as well", () => {
    const { arrive, mesh } = admitting({ deny: rule(["secret.example"]), allow: [] });
    expect(arrive(helloFor("open.example")).text).toBe("1");
    expect(arrive(helloFor()).text).toBe("1");
    expect(arrive(helloFor("SECRET.example")).closed?.is).toBe("failed");
    const two = message({ extensions: sni(nameEntry("x"), nameEntry("secret.example")) });
    expect(arrive(record(two)).closed?.is).toBe("failed");
    expect(arrive([0, 0, 0, 8, 4, 210, 22, 47]).closed?.is).toBe("failed");
    expect(mesh.server.refusals.map(({ by }) => by)).toEqual([
      "default/names",
      "not_tls", // the same decision, twice
    ]);
    expect(mesh.server.records()[0]).toMatchObject({ requested_server_name: "secret.example" });
  });

  test("is asked again of open connections when the policy changes", () => {
    const { arrive, swapServer, settle } = admitting({ deny: [], allow: [] });
    const [a, b] = [arrive(helloFor("a.example")), arrive(helloFor("b.example"))];
    const plain = arrive([1, 2, 3]);
    expect([a.text, b.text, plain.text]).toEqual(["1", "1", "1"]);
    swapServer({ deny: rule(["b.example"]), allow: [] });
    settle();
    expect([a.closed, b.closed?.is, plain.closed?.is]).toEqual([undefined, "failed", "failed"]);
  });
});
