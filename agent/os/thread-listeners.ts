// The listeners of one data thread. All threads open the same ports (SO_REUSEPORT); the kernel spreads connections over them.
import type { MeshRefusal, OriginalDestination, Stream } from "../base/net.ts";
import type { Loop } from "./loop.ts";
import type { MeshKeys, MeshTls } from "./mesh-tls.ts";
import { listenOn, type TcpListener } from "./tcp.ts";

export interface ListenerPorts {
  readonly hostListenerPort: number;
  readonly inboundPort: number;
  readonly meshPort: number;
  readonly hasIpv6: boolean;
}

export interface Acceptors {
  /** `workload`: index in the order of follow(); undefined: the host's own listener. */
  acceptOutbound(
    stream: Stream,
    original: OriginalDestination | undefined,
    workload: number | undefined,
  ): void;
  acceptInbound(stream: Stream, original: OriginalDestination | undefined): void;
  acceptMesh(stream: Stream): void;
  refused(reason: MeshRefusal): void;
  identityFor(serverName: string): string | undefined;
}

export class ThreadListeners {
  readonly #loop: Loop;
  readonly #meshTls: MeshTls;
  readonly #ports: ListenerPorts;
  readonly #to: Acceptors;
  readonly #loopbacks: readonly string[];
  /** Workload listeners by port. The index is looked up at each accept: a new snapshot may order workloads anew. */
  readonly #byPort = new Map<number, TcpListener[]>();
  #indexOf = new Map<number, number>();
  #mesh: { stop(closeConnections: boolean): void } | undefined;

  constructor(loop: Loop, meshTls: MeshTls, ports: ListenerPorts, to: Acceptors) {
    this.#loop = loop;
    this.#meshTls = meshTls;
    this.#ports = ports;
    this.#to = to;
    this.#loopbacks = ports.hasIpv6 ? ["127.0.0.1", "::1"] : ["127.0.0.1"];
    for (const address of this.#loopbacks) {
      listenOn(loop, address, ports.hostListenerPort, {
        onAccept: (stream, original) => to.acceptOutbound(stream, original, undefined),
      });
    }
    listenOn(loop, this.#anyAddress(), ports.inboundPort, {
      onAccept: (stream, original) => to.acceptInbound(stream, original),
    });
  }

  #anyAddress(): string {
    return this.#ports.hasIpv6 ? "::" : "0.0.0.0";
  }

  /** Mesh connections are accepted from the first keys on. */
  openMesh(keys: MeshKeys): void {
    const fallback = keys.identities[0];
    if (this.#mesh !== undefined || fallback === undefined) return;
    this.#mesh = this.#meshTls.listen(
      this.#anyAddress(),
      this.#ports.meshPort,
      {
        onAccept: (stream) => this.#to.acceptMesh(stream),
        onRefused: (reason) => this.#to.refused(reason),
        identityFor: (serverName) => this.#to.identityFor(serverName),
      },
      fallback,
    );
  }

  /** Opens what is new and closes what is gone; listeners that stay are not touched. */
  follow(outboundPorts: readonly number[]): void {
    this.#indexOf = new Map(outboundPorts.map((port, index) => [port, index]));
    for (const [port, listeners] of this.#byPort) {
      if (this.#indexOf.has(port)) continue;
      for (const listener of listeners) listener.close();
      this.#byPort.delete(port);
    }
    for (const port of outboundPorts)
      if (!this.#byPort.has(port)) this.#byPort.set(port, this.#open(port));
  }

  #open(port: number): TcpListener[] {
    return this.#loopbacks.map((address) =>
      listenOn(this.#loop, address, port, {
        onAccept: (stream, original) => {
          const index = this.#indexOf.get(port);
          if (index === undefined) stream.reset();
          else this.#to.acceptOutbound(stream, original, index);
        },
      }),
    );
  }
}
