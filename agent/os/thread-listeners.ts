// The listeners of one data thread. All threads open the same ports (SO_REUSEPORT); the kernel spreads connections over them.
import type { MeshRefusal, OriginalDestination, Stream } from "../base/net.ts";
import type { ListenerStore, Purpose } from "./listener-store.ts";
import type { Loop } from "./loop.ts";
import type { MeshIdentityKey, MeshKeys, MeshTls } from "./mesh-tls.ts";
import type { KeptDescriptor } from "./notify.ts";
import { type TcpAcceptor, TcpListener } from "./tcp-listener.ts";

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
  /** A mesh handshake. */
  proven(isResumed: boolean): void;
  refusedPeer(reason: MeshRefusal, address: string, serverName: string): void;
  identityFor(serverName: string): string | undefined;
  /** See MeshAcceptor. */
  readonly namelessAlpn: string;
  soleIdentity(): string | undefined;
}

/** A workload's outbound listener. */
export interface WorkloadListener {
  readonly port: number;
  /** NAMESPACE/NAME */
  readonly workload: string;
}

export class ThreadListeners {
  readonly #loop: Loop;
  readonly #store: ListenerStore;
  readonly #meshTls: MeshTls;
  readonly #ports: ListenerPorts;
  readonly #to: Acceptors;
  readonly #loopbacks: readonly string[];
  /** Workload listeners by port. The index is looked up at each accept: a new snapshot may order workloads anew. */
  readonly #byPort = new Map<number, { workload: string; listeners: readonly TcpListener[] }>();
  readonly #fixed: TcpListener[] = [];
  #indexOf = new Map<number, { readonly index: number; readonly workload: string }>();
  #isClosed = false;
  #isOpen = false;
  /** What clients without SNI are shown: see #showSole(). */
  #fallback: MeshIdentityKey | undefined;
  #keys: MeshKeys | undefined;
  #mesh: { readonly fd: number; stop(closeConnections: boolean): void } | undefined;

  /** With sockets of a process before this one nothing is accepted before the first follow(): who waits there would be refused, and a
   *  predecessor still accepts. */
  constructor(
    loop: Loop,
    store: ListenerStore,
    meshTls: MeshTls,
    ports: ListenerPorts,
    to: Acceptors,
  ) {
    this.#loop = loop;
    this.#store = store;
    this.#meshTls = meshTls;
    this.#ports = ports;
    this.#to = to;
    this.#loopbacks = ports.hasIpv6 ? ["127.0.0.1", "::1"] : ["127.0.0.1"];
    if (!store.isTakingOver) this.#openFixed();
  }

  #openFixed(): void {
    this.#isOpen = true;
    const { hostListenerPort, inboundPort } = this.#ports;
    for (const address of this.#loopbacks) {
      const host = this.#listen("outbound", address, hostListenerPort, {
        onAccept: (stream, original) => this.#to.acceptOutbound(stream, original, undefined),
      });
      this.#fixed.push(host);
    }
    const inbound = this.#listen("inbound", this.#anyAddress(), inboundPort, {
      onAccept: (stream, original) => this.#to.acceptInbound(stream, original),
    });
    this.#fixed.push(inbound);
  }

  #listen(purpose: Purpose, address: string, port: number, acceptor: TcpAcceptor): TcpListener {
    return new TcpListener(this.#loop, this.#store.open(purpose, address, port), acceptor);
  }

  #anyAddress(): string {
    return this.#ports.hasIpv6 ? "::" : "0.0.0.0";
  }

  /** Mesh connections are accepted from the first keys on. */
  openMesh(keys: MeshKeys): void {
    const isTrustNew = this.#keys?.trustBundle.join() !== keys.trustBundle.join();
    this.#keys = keys;
    this.#fallback ??= keys.identities[0];
    if (this.#isOpen) this.#openMesh();
    this.#showSole(isTrustNew);
  }

  /** The runtime asks for a certificate by SNI only. Who sends none is shown the listener's own: that of the only identity that local
   *  workloads have, if they have one. It cannot be changed, so another listener goes on with the same socket. */
  #showSole(isTrustNew: boolean): void {
    const sole = this.#to.soleIdentity();
    const key = this.#keys?.identities.find(({ identity }) => identity === sole);
    const isShown = key?.certificates[0] === this.#fallback?.certificates[0] && !isTrustNew;
    if (key === undefined || isShown || this.#mesh === undefined) return;
    const fd = this.#store.duplicate(this.#mesh.fd);
    if (fd === undefined) return;
    const before = this.#mesh;
    this.#fallback = key;
    this.#mesh = this.#listenMesh(fd, key);
    before.stop(false);
  }

  #openMesh(): void {
    if (this.#mesh !== undefined || this.#isClosed || this.#fallback === undefined) return;
    const fd = this.#store.open("mesh", this.#anyAddress(), this.#ports.meshPort);
    this.#mesh = this.#listenMesh(fd, this.#fallback);
  }

  #listenMesh(fd: number, fallback: MeshIdentityKey) {
    const acceptor = {
      onAccept: (stream: Stream) => this.#to.acceptMesh(stream),
      onRefused: (reason: MeshRefusal) => this.#to.refused(reason),
      onProven: (isResumed: boolean) => this.#to.proven(isResumed),
      onRefusedPeer: (reason: MeshRefusal, address: string, serverName: string) =>
        this.#to.refusedPeer(reason, address, serverName),
      identityFor: (serverName: string) => this.#to.identityFor(serverName),
      namelessAlpn: this.#to.namelessAlpn,
      soleIdentity: () => this.#to.soleIdentity(),
    };
    const listener = this.#meshTls.listen(fd, acceptor, fallback);
    return { fd, stop: (closeConnections: boolean) => listener.stop(closeConnections) };
  }

  /** Opens what is new and closes what is gone; listeners that stay are not touched. */
  follow(workloads: readonly WorkloadListener[]): void {
    if (this.#isClosed) return;
    if (!this.#isOpen) {
      this.#openFixed();
      this.#openMesh();
    }
    this.#indexOf = new Map(
      workloads.map(({ port, workload }, index) => [port, { index, workload }]),
    );
    for (const [port, { workload, listeners }] of this.#byPort) {
      // A port that passed to another workload gets new sockets: who waits on the old ones is not its process.
      if (this.#indexOf.get(port)?.workload === workload) continue;
      for (const listener of listeners) listener.retire();
      this.#byPort.delete(port);
    }
    for (const one of workloads)
      if (!this.#byPort.has(one.port)) this.#byPort.set(one.port, this.#open(one));
    this.#store.retireRest("connections");
    this.#showSole(false);
  }

  /** What a successor has to be given. */
  get sockets(): readonly KeptDescriptor[] {
    const mesh = this.#mesh === undefined ? [] : [this.#mesh.fd];
    return [...this.#all.map(({ fd }) => fd), ...mesh].map((fd) => this.#store.describe(fd));
  }

  get #all(): readonly TcpListener[] {
    return [...this.#fixed, ...[...this.#byPort.values()].flatMap(({ listeners }) => listeners)];
  }

  /** Accepts no more; what is accepted lives on, and so does what the service manager keeps for the next process. */
  close(): void {
    this.#end((listener) => listener.close());
  }

  /** As close(), but what waits in the sockets is a successor's. */
  giveAway(): void {
    this.#end((listener) => listener.giveAway());
  }

  #end(how: (listener: TcpListener) => void): void {
    this.#isClosed = true;
    for (const listener of this.#all) how(listener);
    this.#fixed.length = 0;
    this.#byPort.clear();
    this.#mesh?.stop(false);
    this.#mesh = undefined;
  }

  #open({ port, workload }: WorkloadListener) {
    const listeners = this.#loopbacks.map((address) =>
      this.#listen({ workload }, address, port, {
        onAccept: (stream, original) => {
          const found = this.#indexOf.get(port);
          if (found?.workload !== workload) stream.reset();
          else this.#to.acceptOutbound(stream, original, found.index);
        },
      }),
    );
    return { workload, listeners };
  }
}
