// Client and server of the fixture with their planes of datagrams, on one cable of memory, and an app that answers.
import { expect } from "bun:test";
import type { LocalWorkload } from "../../agent/policy/snapshot.ts";
import { ALPN_DATAGRAMS } from "../../agent/proxy/mesh-alpn.ts";
import { UDP_BOUNDS, type UdpBounds } from "../../agent/proxy/udp/udp-context.ts";
import { UdpPlane } from "../../agent/proxy/udp/udp-plane.ts";
import { captured, MemoryCable, MemoryDatagrams } from "./memory-datagrams.ts";
import {
  endpoint,
  type Host,
  MeshFixture,
  SERVER_ID,
  serverWorkload,
  service,
  VIP,
} from "./mesh-fixture.ts";

const LISTENER = 15_101;
const TO = { address: VIP, port: 80 };
const APP = "10.0.0.2:8080";
export const DENIED = { deny: [], allow: [{ policy: "default/nobody", rules: [] }] };

/** Client and server of the fixture, called by datagrams. */
export class UdpMesh extends MeshFixture {
  readonly cable = new MemoryCable(this.clock);
  readonly atClient = new MemoryDatagrams(this.cable, "10.0.0.1");
  readonly caller: UdpPlane;
  called: UdpPlane;
  /** What the app got, as `PORT TEXT`. It answers each with `re TEXT`. */
  readonly atApp: string[] = [];
  sessions = 0;

  readonly #bounds: UdpBounds;

  constructor(bounds: Partial<UdpBounds> = {}) {
    super({ accessLog: "on" });
    this.#bounds = { ...UDP_BOUNDS, ...bounds };
    this.caller = this.planeOf(this.client, this.atClient);
    this.called = this.planeOf(this.server, new MemoryDatagrams(this.cable, "10.0.0.2"));
    this.server.network.listenMesh(15_008, {
      accept: (stream) => {
        expect(stream.mesh?.alpn).toBe(ALPN_DATAGRAMS);
        this.sessions++;
        this.called.acceptMesh(stream);
      },
      identityOf: (name) =>
        this.server.plane.view?.tables.udpInboundByServerName(name) && SERVER_ID,
    });
    this.declare();
    const send = this.cable.send.bind(this.cable);
    this.cable.send = (sent) => {
      const [from = "", to = ""] = sent.path.split(">");
      if (to !== APP) return send(sent);
      const text = new TextDecoder().decode(sent.bytes);
      this.atApp.push(`${from.split(":")[1]} ${text}`);
      this.cable.deliver({ path: `${to}>${from}`, bytes: new TextEncoder().encode(`re ${text}`) });
    };
  }

  planeOf(host: Host, datagrams: MemoryDatagrams): UdpPlane {
    return new UdpPlane({ meshPort: 15_008, bounds: this.#bounds }, host.plane, datagrams);
  }

  /** The app takes datagrams, under this policy. */
  declare(
    authorization: LocalWorkload["authorization"] = { deny: [], allow: [] },
    rateLimits?: LocalWorkload["rateLimits"],
  ): void {
    const ports = service().ports.map((port) => ({ ...port, protocol: "udp" as const }));
    this.swapClient({
      services: [service({ ports })],
      endpoints: [endpoint(0, { isUdp: true })],
    });
    const inbound = serverWorkload().ports.map((port) => ({
      ...port,
      protocol: "udp" as const,
      mtls: "strict" as const,
    }));
    this.swapServer({ workloads: [serverWorkload({ ports: inbound, authorization, rateLimits })] });
    this.caller.swap();
    this.called.swap();
  }

  say(text: string, fromPort = 5_000): void {
    const from = { address: "127.0.0.1", port: fromPort };
    this.caller.takeOutbound(captured(from, TO, text), LISTENER, 0);
  }

  settle(ms = 200): void {
    this.clock.pass(ms);
    expect(this.bugs).toEqual([]);
  }

  texts(): string[] {
    return this.atApp.map((line) => line.slice(line.indexOf(" ") + 1));
  }
  dropped(reason: string): number {
    const of = (host: Host): number => host.count("ironmesh_udp_dropped_total", { reason });
    return of(this.client) + of(this.server);
  }
}
