// Everybody the server named, and what this member knows of each: what is said (status, incarnation), and what it saw itself.
import type { Random } from "../base/clock.ts";
import type { Status } from "./claim.ts";
import { isMemberName, MEMBERS_MAX } from "./codec.ts";
import type { Suspicion } from "./suspicion.ts";

/** As the server tells it: names and addresses never come from gossip. */
export interface MemberAddress {
  readonly name: string;
  readonly address: string;
  readonly port: number;
}

export class Member {
  readonly name: string;
  address: string;
  port: number;
  /** Undefined: nothing was heard of it yet, good or bad. */
  known: { status: Status; incarnation: number; sinceMs: number } | undefined;
  suspicion: Suspicion | undefined;
  /** When it last answered a question of ours. */
  heardMs = Number.NEGATIVE_INFINITY;
  /** When somebody else last said that it answered him. */
  relayedMs = Number.NEGATIVE_INFINITY;
  /** When it was last asked in its turn. */
  probedMs = Number.NEGATIVE_INFINITY;
  rttMs: number | undefined;
  /** It failed to answer us for as long as a look takes, by datagram and by stream. */
  isUnreachable = false;
  /** It said so itself, in an answer to us. */
  isLeaving = false;
  /** A look is under way since. */
  lookSinceMs: number | undefined;

  constructor({ name, address, port }: MemberAddress) {
    this.name = name;
    this.address = address;
    this.port = port;
  }

  get wasHeard(): boolean {
    return this.heardMs > Number.NEGATIVE_INFINITY;
  }

  /** Gossip alone lowers nobody: what counts is that it does not answer us. Who never answered us may be behind a firewall, so there
   *  both must hold. */
  get isDown(): boolean {
    if (this.isLeaving) return true;
    const isGivenUp = this.known?.status === "dead" || this.known?.status === "left";
    return this.isUnreachable && (this.wasHeard || isGivenUp);
  }

  moveTo({ address, port }: MemberAddress): void {
    if (address === this.address && port === this.port) return;
    this.address = address;
    this.port = port;
    this.heardMs = Number.NEGATIVE_INFINITY;
    this.rttMs = undefined;
    this.isUnreachable = false;
    this.isLeaving = false;
  }
}

export class MemberTable {
  readonly self: string;
  readonly #members = new Map<string, Member>();
  readonly #random: Random;
  /** In the order they are probed; shuffled anew after each round (SWIM 4.3: bounds the time to first detection). */
  #ring: Member[] = [];
  #ringAt = 0;
  /** Rounds of probes that ended. */
  round = 0;

  constructor(self: string, random: Random) {
    this.self = self;
    this.#random = random;
  }

  /** Without this member itself. */
  get size(): number {
    return this.#members.size;
  }

  get(name: string): Member | undefined {
    return this.#members.get(name);
  }

  all(): Iterable<Member> {
    return this.#members.values();
  }

  /** Takes the server's list; returns who is no member any more. Names that are none, and those beyond MEMBERS_MAX, are left out. */
  replace(list: readonly MemberAddress[]): Member[] {
    const named = new Set<string>([this.self]);
    for (const one of list) {
      if (named.has(one.name) || !isMemberName(one.name) || named.size > MEMBERS_MAX) continue;
      named.add(one.name);
      const member = this.#members.get(one.name);
      if (member === undefined) this.#members.set(one.name, new Member(one));
      else member.moveTo(one);
    }
    const gone = [...this.#members.values()].filter((member) => !named.has(member.name));
    for (const member of gone) this.#members.delete(member.name);
    this.#shuffle();
    return gone;
  }

  /** The next to be probed; undefined: nobody is left. Who does not answer us is looked at again in its own time. */
  next(): Member | undefined {
    for (let tries = 0; tries <= this.#ring.length; tries++) {
      if (this.#ringAt >= this.#ring.length) {
        this.#shuffle();
        this.round++;
      }
      const member = this.#ring[this.#ringAt++];
      if (member !== undefined && !member.isUnreachable) return member;
    }
    return undefined;
  }

  /** Up to `count` members at random of those that `suit`. */
  sample(count: number, suits: (member: Member) => boolean): Member[] {
    const found: Member[] = [];
    // A few tries suffice in a healthy pool, and in a sick one nobody suits.
    for (let tries = 0; tries < count * 8 && found.length < count; tries++) {
      const member = this.#ring[Math.floor(this.#random.unit() * this.#ring.length)];
      if (member !== undefined && suits(member) && !found.includes(member)) found.push(member);
    }
    return found;
  }

  #shuffle(): void {
    const ring = [...this.#members.values()];
    for (let i = ring.length - 1; i > 0; i--) {
      const j = Math.floor(this.#random.unit() * (i + 1));
      [ring[i], ring[j]] = [ring[j] as Member, ring[i] as Member];
    }
    this.#ring = ring;
    this.#ringAt = 0;
  }
}
