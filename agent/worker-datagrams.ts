// A data thread's datagrams, wired. worker.ts loads this when a snapshot first names a UDP port: threads of a mesh without any start without it.
import type { Stream } from "./base/net.ts";
import type { ThreadConfig } from "./control/thread-messages.ts";
import { OsDatagrams } from "./os/datagram-network.ts";
import type { ListenerStore } from "./os/listener-store.ts";
import type { Loop } from "./os/loop.ts";
import type { KeptDescriptor } from "./os/notify.ts";
import type { WorkloadListener } from "./os/thread-listeners.ts";
import { UdpListeners } from "./os/udp-listeners.ts";
import type { DataPlane } from "./proxy/data-plane.ts";
import { UdpPlane } from "./proxy/udp/udp-plane.ts";

export interface ThreadDatagrams {
  acceptMesh(stream: Stream): void;
  /** After DataPlane.swap(). `workloads` undefined: nobody declares UDP any more. Throws CannotListen. */
  follow(workloads: readonly WorkloadListener[] | undefined): void;
  renewed(identities: ReadonlySet<string>): void;
  hostsChanged(): void;
  /** What a successor has to be given. */
  sockets(): readonly KeptDescriptor[];
  /** A successor has them: flows go on there, and what is under way is still heard here. */
  handOver(): void;
  close(): void;
}

export function startDatagrams(
  loop: Loop,
  store: ListenerStore,
  config: ThreadConfig,
  plane: DataPlane,
): ThreadDatagrams {
  const udp = new UdpPlane({ meshPort: config.meshPort }, plane, new OsDatagrams(loop));
  const listeners = new UdpListeners(loop, store, config, {
    takeOutbound: (datagram, listener, workload) => udp.takeOutbound(datagram, listener, workload),
    refusePlain: (datagram) => udp.refusePlain(datagram),
    bug: plane.deps.bug,
  });
  return {
    acceptMesh: (stream) => udp.acceptMesh(stream),
    follow(workloads) {
      udp.swap();
      listeners.follow(config.takesDatagrams ? workloads : undefined);
    },
    renewed: (identities) => udp.renewed(identities),
    hostsChanged: () => udp.hostsChanged(),
    sockets: () => listeners.sockets,
    handOver() {
      listeners.close();
      udp.handOver();
    },
    close() {
      listeners.close();
      udp.close();
    },
  };
}
