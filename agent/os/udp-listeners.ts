// The datagram listeners of one data thread, at the ports of its TCP listeners. They are open only while somebody has declared UDP: an agent
// without any needs no transparent sockets. As TCP's they outlive the process (listener-store.ts): what comes meanwhile waits in them, as far as
// there is room (WAITING_BYTES_MAX).
import type { CapturedDatagram } from "../base/datagrams.ts";
import type { ListenerStore } from "./listener-store.ts";
import type { Loop } from "./loop.ts";
import type { KeptDescriptor } from "./notify.ts";
import type { ListenerPorts, WorkloadListener } from "./thread-listeners.ts";
import { openTransparent, UdpListener } from "./udp-listener.ts";

export interface UdpAcceptors {
  /** `workload`: index in the order of follow(); undefined: a process of none. */
  takeOutbound(datagram: CapturedDatagram, listener: number, workload: number | undefined): void;
  refusePlain(datagram: CapturedDatagram): void;
  /** A bug of ours: that datagram is lost, the listener goes on. */
  bug(error: unknown): void;
}

export class UdpListeners {
  readonly #loop: Loop;
  readonly #ports: ListenerPorts;
  readonly #to: UdpAcceptors;
  readonly #store: ListenerStore;
  /** By port. The index is looked up at each datagram: a new snapshot may order workloads anew. */
  readonly #byPort = new Map<number, { workload: string; listeners: readonly UdpListener[] }>();
  #indexOf = new Map<number, { readonly index: number | undefined; readonly workload: string }>();
  #isClosed = false;

  constructor(loop: Loop, store: ListenerStore, ports: ListenerPorts, to: UdpAcceptors) {
    this.#loop = loop;
    this.#store = store;
    this.#ports = ports;
    this.#to = to;
  }

  /** Opens what is new and closes what is gone. Undefined: nobody has declared UDP. Throws CannotListen. */
  follow(workloads: readonly WorkloadListener[] | undefined): void {
    if (this.#isClosed) return;
    const wanted =
      workloads === undefined
        ? []
        : [
            { port: this.#ports.hostListenerPort, workload: "", index: undefined },
            { port: this.#ports.inboundPort, workload: " inbound", index: undefined },
            ...workloads.map(({ port, workload }, index) => ({ port, workload, index })),
          ];
    this.#indexOf = new Map(wanted.map(({ port, workload, index }) => [port, { index, workload }]));
    for (const [port, { workload, listeners }] of this.#byPort) {
      if (this.#indexOf.get(port)?.workload === workload) continue;
      for (const listener of listeners) listener.retire();
      this.#byPort.delete(port);
    }
    for (const { port, workload } of wanted)
      if (!this.#byPort.has(port))
        this.#byPort.set(port, { workload, listeners: this.#open(port, workload) });
  }

  #open(port: number, workload: string): readonly UdpListener[] {
    const addresses = this.#ports.hasIpv6 ? ["127.0.0.1", "::1"] : ["127.0.0.1"];
    const onDatagram = (datagram: CapturedDatagram): void => {
      try {
        this.#take(port, workload, datagram);
      } catch (error) {
        this.#to.bug(error);
      }
    };
    const purpose = { datagramsOf: `${workload} ${port}` };
    return addresses.map((address) => {
      const fd = this.#store.open(purpose, address, port, openTransparent);
      return new UdpListener(this.#loop, fd, address.includes(":"), { onDatagram });
    });
  }

  #take(port: number, workload: string, datagram: CapturedDatagram): void {
    const found = this.#indexOf.get(port);
    if (found?.workload !== workload) return; // it has just passed to another
    if (port === this.#ports.inboundPort) this.#to.refusePlain(datagram);
    else this.#to.takeOutbound(datagram, port, found.index);
  }

  /** What a successor has to be given. */
  get sockets(): readonly KeptDescriptor[] {
    return this.#all.map(({ fd }) => this.#store.describe(fd));
  }
  get #all(): readonly UdpListener[] {
    return [...this.#byPort.values()].flatMap(({ listeners }) => listeners);
  }

  /** Reads no more: what waits, and all that comes, is for the next process. */
  close(): void {
    this.#isClosed = true;
    for (const listener of this.#all) listener.close();
    this.#byPort.clear();
  }
}
