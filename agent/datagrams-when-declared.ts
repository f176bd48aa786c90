// worker-datagrams.ts of one data thread, loaded once a snapshot names a UDP port: a start without any does not pay for it.
import type { Log } from "./base/log.ts";
import type { Stream } from "./base/net.ts";
import type { ThreadConfig } from "./control/thread-messages.ts";
import type { ListenerStore } from "./os/listener-store.ts";
import type { Loop } from "./os/loop.ts";
import type { KeptDescriptor } from "./os/notify.ts";
import { exportsKeys } from "./os/runtime.ts";
import type { WorkloadListener } from "./os/thread-listeners.ts";
import type { Snapshot } from "./policy/snapshot.ts";
import type { DataPlane } from "./proxy/data-plane.ts";
import type { ThreadDatagrams } from "./worker-datagrams.ts";

export class DatagramsWhenDeclared {
  readonly #loop: Loop;
  readonly #store: ListenerStore;
  readonly #config: ThreadConfig;
  readonly #plane: DataPlane;
  readonly #fail: (error: unknown) => void;
  #loading: Promise<void> | undefined;
  #loaded: ThreadDatagrams | undefined;
  readonly #log: Log;
  #isClosed = false;
  #hasWarned = false;

  constructor(
    loop: Loop,
    store: ListenerStore,
    config: ThreadConfig,
    plane: DataPlane,
    { fail, log }: { readonly fail: (error: unknown) => void; readonly log: Log },
  ) {
    this.#loop = loop;
    this.#store = store;
    this.#log = log;
    this.#config = config;
    this.#plane = plane;
    this.#fail = fail;
  }

  /** `isFollowed` is called in the order of the snapshots, when this one's datagrams are taken. */
  follow(snapshot: Snapshot, workloads: readonly WorkloadListener[], isFollowed: () => void): void {
    const isDeclared = hasUdp(snapshot);
    const follow = (): void => {
      if (!this.#isClosed) this.#loaded?.follow(isDeclared ? workloads : undefined);
      this.#store.retireRest("datagrams");
      isFollowed();
    };
    if (isDeclared) {
      this.#loading ??= this.#load();
      if (!exportsKeys()) this.#warn();
    }
    if (this.#loading === undefined || this.#loaded !== undefined) follow();
    else this.#loading = this.#loading.then(follow).catch(this.#fail);
  }

  #warn(): void {
    if (!this.#hasWarned && this.#config.index === 0)
      this.#log.warn(
        "under Deno no datagram can be sealed: UDP goes to services outside the mesh only, any other is dropped (cannot_seal)",
        { next: "run the Bun build on hosts that serve a UDP port or call one of the mesh" },
      );
    this.#hasWarned = true;
  }

  async #load(): Promise<void> {
    const { startDatagrams } = await import("./worker-datagrams.ts");
    this.#loaded = startDatagrams(this.#loop, this.#store, this.#config, this.#plane);
  }

  acceptMesh(stream: Stream): void {
    if (this.#loaded !== undefined) this.#loaded.acceptMesh(stream);
    // The peer tries again.
    else this.#plane.refuse(stream, "no_snapshot", { destination: { address: "", port: 0 } });
  }
  renewed(identities: ReadonlySet<string>): void {
    this.#loaded?.renewed(identities);
  }
  hostsChanged(): void {
    this.#loaded?.hostsChanged();
  }
  sockets(): readonly KeptDescriptor[] {
    return this.#loaded?.sockets() ?? [];
  }
  handOver(): void {
    this.#isClosed = true;
    this.#loaded?.handOver();
  }
  close(): void {
    this.#isClosed = true;
    this.#loaded?.close();
  }
}

/** Somebody has declared UDP. */
const hasUdp = ({ services, workloads }: Snapshot): boolean =>
  services.some(speaksUdp) || workloads.some(speaksUdp);
const speaksUdp = ({ ports }: { readonly ports: readonly { readonly protocol: string }[] }) =>
  ports.some((port) => port.protocol === "udp");
