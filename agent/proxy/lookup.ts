// One name's addresses of one family, asked of the host's resolvers in turn: the first that answers has the word, also where it says that
// there are none. One that cannot answer (SERVFAIL, REFUSED, silence, nonsense) is passed over, as libc does.
import type { Timers } from "../base/clock.ts";
import {
  type AddressType,
  type LookedUp,
  questionEndOf,
  readLookup,
  writeLookup,
} from "../protocol/dns-lookup.ts";
import { type Forwarders, ResolverExchange } from "./resolver-exchange.ts";

export interface LookupDeps {
  readonly forwarders: Forwarders;
  readonly timers: Timers;
  /** 16 bits from a cryptographic source. */
  randomId(): number;
}

export type LookupOutcome =
  | { readonly is: "answered"; readonly found: LookedUp; readonly resolver: string }
  /** None of the resolvers; what the last of them did. */
  | { readonly is: "failed"; readonly reason: string };

/** `done` is called once, later or at once. */
export function lookUp(
  { name, type }: { readonly name: string; readonly type: AddressType },
  resolvers: readonly string[],
  deps: LookupDeps,
  done: (outcome: LookupOutcome) => void,
): void {
  const query = writeLookup(name, type);
  const ask = (turn: number, transport: "udp" | "tcp", reason: string): void => {
    const resolver = resolvers[turn];
    if (resolver === undefined) {
      done({ is: "failed", reason });
      return;
    }
    new ResolverExchange(query, questionEndOf(name), deps.randomId(), {
      timers: deps.timers,
      next: () => ask(turn + 1, "udp", `${resolver} does not answer`),
      done: (message) => {
        const read = readLookup(message, name, type);
        if (read.ok) done({ is: "answered", found: read.value, resolver });
        else if (read.error === "truncated" && transport === "udp") ask(turn, "tcp", reason);
        else ask(turn + 1, "udp", `${resolver} answers ${read.error}`);
      },
    }).begin((events) => deps.forwarders.open(resolver, transport, events));
  };
  ask(0, "udp", "resolv.conf of this host names no resolver");
}
