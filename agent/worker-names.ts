// The sockets on which one data thread is asked for names in the resolvers' place, and those by which it asks them. worker.ts wires it.
import type { Network } from "./base/net.ts";
import type { ThreadConfig } from "./control/thread-messages.ts";
import { ForwardSocket, openInPlaceOf, ResolverSocket } from "./os/dns-sockets.ts";
import type { ListenerStore } from "./os/listener-store.ts";
import type { Loop } from "./os/loop.ts";
import type { KeptDescriptor } from "./os/notify.ts";
import { TcpListener } from "./os/tcp-listener.ts";
import { NameServer, type ResolveName } from "./proxy/names.ts";
import { forwardOverTcp, NameStreams } from "./proxy/names-stream.ts";
import type { Forwarders } from "./proxy/resolver-exchange.ts";

export const forwardersOf = (loop: Loop, network: Network): Forwarders => ({
  open: (resolver, transport, events) =>
    transport === "udp"
      ? ForwardSocket.open(loop, resolver, events)
      : forwardOverTcp(network, resolver, events),
});

export const randomId = (): number => crypto.getRandomValues(new Uint16Array(1))[0] as number;

export interface ThreadNames {
  follow(resolve: ResolveName): void;
  /** What a successor has to be given. */
  sockets(): readonly KeptDescriptor[];
  giveAway(): void;
}

/** Binds what names are asked on; returns how this thread follows snapshots. It answers from the first one on: until then queries
 *  wait in their sockets, since without a snapshot every name of the mesh would be said not to exist. */
export function startNames(
  loop: Loop,
  store: ListenerStore,
  network: Network,
  dns: NonNullable<ThreadConfig["dns"]>,
  hasIpv6: boolean,
): ThreadNames {
  let resolve: ResolveName = () => "not_ours";
  const names = new NameServer(
    { resolvers: dns.resolvers, hasIpv6 },
    {
      resolveName: (name) => resolve(name),
      timers: loop.wheel,
      randomId,
      forwarders: forwardersOf(loop, network),
    },
  );
  const sockets = dns.resolvers.map(
    (resolver) =>
      new ResolverSocket(
        loop,
        resolver,
        { onQuery: (query, asked, reply) => names.answer(query, "udp", asked, reply) },
        store.take("resolver", resolver, 53) ??
          store.keep("resolver", openInPlaceOf(loop, resolver)),
      ),
  );
  const listeners: TcpListener[] = [];
  const begin = (): void => {
    for (const socket of sockets) socket.begin();
    const streams = new NameStreams(names, loop.wheel);
    for (const address of hasIpv6 ? ["127.0.0.1", "::1"] : ["127.0.0.1"]) {
      const listener = new TcpListener(loop, store.open("dns", address, dns.port), {
        onAccept: (stream, original) =>
          streams.accept(stream, original?.port === dns.port ? undefined : original?.address),
      });
      listeners.push(listener);
    }
  };
  let hasBegun = false;
  return {
    follow: (next) => {
      resolve = next;
      if (!hasBegun) begin();
      hasBegun = true;
    },
    sockets: () => [...sockets, ...listeners].map(({ fd }) => store.describe(fd)),
    giveAway: () => {
      for (const socket of sockets) socket.giveAway();
      for (const listener of listeners.splice(0)) listener.giveAway();
    },
  };
}
