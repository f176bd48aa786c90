// The agent in its resolvers' place: a UDP socket for each, the TCP listener, and the lease that makes queries come.
import type { Log } from "../base/log.ts";
import type { Stream } from "../base/net.ts";
import { type QueryEvents, ResolverSocket } from "./dns-sockets.ts";
import type { Loop } from "./loop.ts";
import { DnsLease } from "./redirect/lease.ts";
import type { RedirectPlan } from "./redirect/plan.ts";
import type { Runner } from "./redirect/runner.ts";
import { listenOn, type TcpListener } from "./tcp.ts";

export interface DnsCaptureConfig {
  readonly backend: RedirectPlan["backend"];
  readonly resolvers: readonly string[];
  readonly dnsPort: number;
  readonly hasIpv6: boolean;
}

export interface DnsCaptureEvents extends QueryEvents {
  /** A DNS-over-TCP connection that was going to `resolver`. */
  onStream(stream: Stream, resolver: string | undefined): void;
}

export class DnsCapture {
  readonly #sockets: ResolverSocket[] = [];
  readonly #listeners: TcpListener[] = [];
  readonly #lease: DnsLease;

  /** Throws when a socket cannot be had, naming the address and the next action. */
  constructor(
    loop: Loop,
    config: DnsCaptureConfig,
    deps: { readonly runner: Runner; readonly log: Log },
    events: DnsCaptureEvents,
  ) {
    for (const resolver of config.resolvers) {
      this.#sockets.push(new ResolverSocket(loop, resolver, events));
    }
    for (const address of config.hasIpv6 ? ["127.0.0.1", "::1"] : ["127.0.0.1"]) {
      this.#listeners.push(
        listenOn(loop, address, config.dnsPort, {
          onAccept: (stream, original) => events.onStream(stream, original?.address),
        }),
      );
    }
    this.#lease = new DnsLease(config, { ...deps, timers: loop.wheel });
    this.#lease.start();
  }

  close(): void {
    this.#lease.stop();
    for (const socket of this.#sockets) socket.close();
    for (const listener of this.#listeners) listener.close();
  }
}
