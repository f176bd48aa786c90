// The listeners of one data thread. All threads open the same ports (SO_REUSEPORT); the kernel spreads connections over them.
import type { MeshRefusal, OriginalDestination, Stream } from "../base/net.ts";
import { CannotListen } from "./cannot-listen.ts";
import type { Loop } from "./loop.ts";
import type { MeshIdentityKey, MeshKeys, MeshTls } from "./mesh-tls.ts";
import { listenOn, type TcpListener } from "./tcp-listener.ts";

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

/** As the runtime names what bind and listen answer. */
const LISTEN_FAILURES = /^E(?:ADDRINUSE|ACCES|ADDRNOTAVAIL|PERM)$/;

export class ThreadListeners {
  readonly #loop: Loop;
  readonly #meshTls: MeshTls;
  readonly #ports: ListenerPorts;
  readonly #to: Acceptors;
  readonly #loopbacks: readonly string[];
  /** Workload listeners by port. The index is looked up at each accept: a new snapshot may order workloads anew. */
  readonly #byPort = new Map<number, TcpListener[]>();
  readonly #fixed: TcpListener[] = [];
  #indexOf = new Map<number, number>();
  #isClosed = false;
  #mesh: { stop(closeConnections: boolean): void } | undefined;

  constructor(loop: Loop, meshTls: MeshTls, ports: ListenerPorts, to: Acceptors) {
    this.#loop = loop;
    this.#meshTls = meshTls;
    this.#ports = ports;
    this.#to = to;
    this.#loopbacks = ports.hasIpv6 ? ["127.0.0.1", "::1"] : ["127.0.0.1"];
    for (const address of this.#loopbacks) {
      const host = listenOn(loop, address, ports.hostListenerPort, {
        onAccept: (stream, original) => to.acceptOutbound(stream, original, undefined),
      });
      this.#fixed.push(host);
    }
    const inbound = listenOn(loop, this.#anyAddress(), ports.inboundPort, {
      onAccept: (stream, original) => to.acceptInbound(stream, original),
    });
    this.#fixed.push(inbound);
  }

  #anyAddress(): string {
    return this.#ports.hasIpv6 ? "::" : "0.0.0.0";
  }

  /** Mesh connections are accepted from the first keys on. */
  openMesh(keys: MeshKeys): void {
    const fallback = keys.identities[0];
    if (this.#mesh !== undefined || this.#isClosed || fallback === undefined) return;
    this.#mesh = this.#listenMesh(fallback);
  }

  #listenMesh(fallback: MeshIdentityKey): { stop(closeConnections: boolean): void } {
    const address = this.#anyAddress();
    const { meshPort } = this.#ports;
    const acceptor = {
      onAccept: (stream: Stream) => this.#to.acceptMesh(stream),
      onRefused: (reason: MeshRefusal) => this.#to.refused(reason),
      identityFor: (serverName: string) => this.#to.identityFor(serverName),
    };
    try {
      return this.#meshTls.listen(address, meshPort, acceptor, fallback);
    } catch (error) {
      const { code } = error as { code?: string };
      if (code === undefined || !LISTEN_FAILURES.test(code)) throw error;
      throw new CannotListen(address, meshPort, code);
    }
  }

  /** Opens what is new and closes what is gone; listeners that stay are not touched. */
  follow(outboundPorts: readonly number[]): void {
    if (this.#isClosed) return;
    this.#indexOf = new Map(outboundPorts.map((port, index) => [port, index]));
    for (const [port, listeners] of this.#byPort) {
      if (this.#indexOf.has(port)) continue;
      for (const listener of listeners) listener.close();
      this.#byPort.delete(port);
    }
    for (const port of outboundPorts)
      if (!this.#byPort.has(port)) this.#byPort.set(port, this.#open(port));
  }

  /** For good: what is accepted lives on. */
  close(): void {
    this.#isClosed = true;
    for (const listener of this.#fixed) listener.close();
    for (const listeners of this.#byPort.values())
      for (const listener of listeners) listener.close();
    this.#byPort.clear();
    this.#mesh?.stop(false);
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
