// What a DestinationRule's consistentHash goes by, taken from a caller or a request. Undefined: nothing is there to go by, and any
// endpoint will do, as in Envoy.
import { isLoopback, isVirtual } from "../policy/address-block.ts";
import { queryValueOf } from "../policy/match-route.ts";
import type { HashBy } from "../policy/snapshot.ts";
import type { RequestHead } from "../protocol/http1/head.ts";
import { keyHash } from "../resilience/rendezvous.ts";

export class HashKey {
  readonly #by: HashBy;
  readonly #hostAddress: string;

  /** `hostAddress`: what a caller counts as that has no address but the loopback's. */
  constructor(by: HashBy, hostAddress: string) {
    this.#by = by;
    this.#hostAddress = hostAddress;
  }

  /** Of a connection, or of a flow of datagrams. */
  ofSource(address: string): number | undefined {
    if (this.#by.is !== "source_ip") return undefined;
    // A program that dials a virtual address comes from one of these: the same on every host.
    const isOfNoHost = isLoopback(address) || isVirtual(address);
    return keyHash(isOfNoHost ? this.#hostAddress : address);
  }

  ofRequest(head: RequestHead, source: { readonly peerAddress: string }): number | undefined {
    const by = this.#by;
    if (by.is === "source_ip") return this.ofSource(source.peerAddress);
    const value = by.is === "header" ? head.joined(by.name) : queryValueOf(head.target, by.name);
    return value === undefined ? undefined : keyHash(value);
  }
}
