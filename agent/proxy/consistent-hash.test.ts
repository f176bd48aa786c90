// DestinationRule consistentHash through the data path: requests, connections and flows that have a key in common have an endpoint in
// common.
import { describe, expect, test } from "bun:test";
import { ask, ok } from "../../test/support/http-conversation.ts";
import { captured, MemoryCable, MemoryDatagrams } from "../../test/support/memory-datagrams.ts";
import {
  cluster,
  endpoint,
  forwardRoute,
  MeshFixture,
  service,
  VIP,
} from "../../test/support/mesh-fixture.ts";
import { TextEnd } from "../../test/support/text-stream.ts";
import type { HashBy, Protocol } from "../policy/snapshot.ts";
import { UdpPlane } from "./udp/udp-plane.ts";

const TO = { address: VIP, port: 80 };
const PORTS = [8080, 8081, 8082, 8083];

/** Four endpoints without an agent, each of which says who it is. */
class HashedMesh extends MeshFixture {
  constructor(hashBy: HashBy, protocol: Protocol = "http") {
    super();
    this.#view = { hashBy, protocol };
    this.declare([0, 1, 2, 3]);
    for (const port of PORTS) this.#serve(port, protocol);
  }
  readonly #view: { readonly hashBy: HashBy; readonly protocol: Protocol };

  declare(endpoints: readonly number[]): void {
    const { hashBy, protocol } = this.#view;
    const ports = service({}, [forwardRoute()]).ports.map((port) => ({ ...port, protocol }));
    const isUdp = protocol === "udp" ? true : undefined;
    this.swapClient({
      services: [service({ ports })],
      clusters: [cluster({ balancer: "consistent_hash", hashBy, endpoints })],
      endpoints: PORTS.map((port, i) => ({
        ...endpoint(i, { address: "10.0.0.2", port, mesh: undefined, isUdp }),
        id: `10.0.0.2:${port}`,
      })),
    });
  }

  #serve(port: number, protocol: Protocol): void {
    this.server.network.listen(port, (stream) => {
      const end = new TextEnd();
      end.attach(stream);
      end.onText = () => {
        end.text = "";
        end.send(protocol === "http" ? ok(`${port}`) : `${port}`);
      };
    });
  }

  /** Who answered each. */
  ask(texts: readonly string[]): Set<string> {
    return new Set(texts.map((text) => ask(this, text).slice(-4)));
  }

  /** Who answers a connection from there. */
  from(address: string): string {
    const end = new TextEnd();
    const [near, far] = this.client.network.accept(end, { address });
    this.client.plane.acceptOutbound(near, TO, 0);
    end.attach(far).send("hello");
    this.clock.pass(200);
    expect(this.bugs).toEqual([]);
    return end.text;
  }
}

const get = (path: string, fields = ""): string =>
  `GET ${path} HTTP/1.1\r\nhost: server\r\n${fields}\r\n`;
const times = (count: number, make: (i: number) => string): string[] =>
  Array.from({ length: count }, (_, i) => make(i));

describe("requests", () => {
  test("of one header value have one endpoint, those of many values have all, those without it have any", () => {
    const mesh = new HashedMesh({ is: "header", name: "x-user" });
    for (const user of ["ann", "bob"])
      expect(mesh.ask(times(12, () => get("/a", `X-User: ${user}\r\n`))).size).toBe(1);
    expect(mesh.ask(times(40, (i) => get("/a", `x-user: ${i}\r\n`))).size).toBe(4);
    expect(mesh.ask(times(40, () => get("/a"))).size).toBe(4);
  });

  test("of one query parameter's value have one endpoint, whatever else the query says", () => {
    const mesh = new HashedMesh({ is: "query", name: "user" });
    expect(mesh.ask(times(12, (i) => get(`/${i}?x=${i}&user=ann`))).size).toBe(1);
    expect(mesh.ask(times(40, (i) => get(`/?user=${i}`))).size).toBe(4);
    expect(mesh.ask(times(40, () => get("/?users=ann"))).size).toBe(4);
  });

  test("of one caller's address have one endpoint, and another agent comes to the same", () => {
    const mesh = new HashedMesh({ is: "source_ip" });
    const found = mesh.ask(times(12, (i) => get(`/${i}`)));
    expect(found.size).toBe(1);
    expect(new HashedMesh({ is: "source_ip" }).ask([get("/")])).toEqual(found);
  });
});

describe("connections", () => {
  test("of one source address have one endpoint, and loopback and virtual addresses are the host's own", () => {
    const mesh = new HashedMesh({ is: "source_ip" }, "tcp");
    const own = mesh.from("10.0.0.1");
    for (const address of ["127.0.0.1", "127.0.0.53", "::1", VIP, "2001:2:0:1::5", "10.0.0.1"])
      expect(mesh.from(address)).toBe(own);
    const all = new Set(times(40, (i) => mesh.from(`192.0.2.${i}`)));
    expect(all.size).toBe(4);
  });

  test("by a header, which they have not, go anywhere", () => {
    const mesh = new HashedMesh({ is: "header", name: "x-user" }, "tcp");
    expect(new Set(times(40, () => mesh.from("10.0.0.1"))).size).toBe(4);
  });
});

describe("flows of datagrams", () => {
  const cableOf = (mesh: HashedMesh) => {
    const cable = new MemoryCable(mesh.clock);
    const datagrams = new MemoryDatagrams(cable, "10.0.0.1");
    const udp = new UdpPlane({ meshPort: 15_008 }, mesh.client.plane, datagrams);
    /** Which endpoint each got. */
    const send = (flows: readonly { address: string; port: number }[]): string[] =>
      flows.map((from) => {
        cable.sent.length = 0;
        udp.takeOutbound(captured(from, TO, "count"), 15_101, 0);
        mesh.clock.pass(10);
        return cable.sent.map(({ path }) => path.split(">")[1]).join();
      });
    const declare = (endpoints: readonly number[]): void => {
      mesh.declare(endpoints);
      udp.swap();
    };
    return { send, declare };
  };
  const ofSource = (address: string): { address: string; port: number }[] =>
    Array.from({ length: 10 }, (_, i) => ({ address, port: 5_000 + i }));

  test("of one source address meet at one endpoint, whatever program or port they are of", () => {
    const { send } = cableOf(new HashedMesh({ is: "source_ip" }, "udp"));
    expect(new Set(send(ofSource("127.0.0.1"))).size).toBe(1);
    const many = Array.from({ length: 40 }, (_, i) => ({ address: `10.9.0.${i}`, port: 5_000 }));
    expect(new Set(send(many)).size).toBe(4);
  });

  test("move together when their endpoint leaves, come back with it, and leave those of others alone", () => {
    const { send, declare } = cableOf(new HashedMesh({ is: "source_ip" }, "udp"));
    const sources = ["127.0.0.1", "10.9.0.1", "10.9.0.2", "10.9.0.3", "10.9.0.4"];
    const flows = sources.flatMap(ofSource);
    const before = send(flows);
    const left = PORTS.findIndex((port) => before[0] === `10.0.0.2:${port}`);
    declare([0, 1, 2, 3].filter((i) => i !== left));
    const meanwhile = send(flows);
    before.forEach((at, i) => {
      if (at === before[0]) expect(meanwhile[i]).not.toBe(at);
      else expect(meanwhile[i]).toBe(at);
    });
    expect(new Set(meanwhile.slice(0, 10)).size).toBe(1);
    declare([0, 1, 2, 3]);
    expect(send(flows)).toEqual(before);
  });
});
