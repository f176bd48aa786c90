// One member of the gossip pool: SWIM (Das, Gupta, Motivala 2002) with Lifeguard (Dadgar, Phillips, Currey 2017), as a sealed
// machine: datagrams and streams come and go as bytes, time and chance are arguments.
//
// What is said about a member:      alive <--refuted by itself, higher incarnation-- suspect --unrefuted--> dead
// What this member does about it:   it looks itself (prober.ts). Health is lowered by what it saw, never by what it was told.
//
// The keys are shared, so any member can say anything in anybody's name. Therefore: names and addresses come from the server;
// answers go to the server's addresses; an answer counts only with the nonce of our question; and a claim only makes us look.
import type { Clock, Random, Timers } from "../base/clock.ts";
import { Awareness } from "./awareness.ts";
import { BroadcastQueue } from "./broadcast-queue.ts";
import { type Claim, INCARNATION_MAX, overrides, type Status } from "./claim.ts";
import {
  claimBytes,
  DATAGRAM_BYTES_MAX,
  type Letter,
  letterBytes,
  type Message,
  readLetter,
  writeLetter,
} from "./codec.ts";
import { type Keyring, SEAL_BYTES } from "./keyring.ts";
import { type Member, type MemberAddress, MemberTable } from "./member.ts";
import { PROBE_EVERY_MS, Prober } from "./prober.ts";
import { CONFIRMATIONS_WANTED, Suspicion } from "./suspicion.ts";

export interface GossipNet {
  /** May be lost. */
  send(to: MemberAddress, datagram: Uint8Array): void;
  /** One question, one answer, on a connection of its own; undefined: none came. */
  ask(
    to: MemberAddress,
    question: Uint8Array,
    answer: (bytes: Uint8Array | undefined) => void,
  ): void;
}

export interface SwimDeps {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  randomBytes(count: number): Uint8Array;
  readonly keyring: Keyring;
  readonly net: GossipNet;
  /** What is said or seen of it changed. */
  onChange(member: MemberView): void;
}

export interface MemberView extends MemberAddress {
  /** `unheard`: nothing is known of it. */
  readonly status: Status | "unheard";
  readonly incarnation: number;
  readonly sinceMs: number;
  /** As this member saw it: no traffic should go there. */
  readonly isDown: boolean;
  readonly rttMs: number | undefined;
}

/** Shortest suspicion = this * max(1, log10(members)) * PROBE_EVERY_MS, as memberlist's SuspicionMult. */
const SUSPICION_FACTOR = 4;
/** News leave at once, not only on the next ping: to this many members, this often while there are any. */
const NEWS_FANOUT = 3;
const NEWS_EVERY_MS = 50;
/** Everything is compared with one member by stream this often; for what datagrams lost, and for who comes back. */
const EXCHANGE_EVERY_MS = 30_000;
/** The first few, and the next after one that nobody answered: the first partner may be as new as we are. */
const EXCHANGE_SOON_MS = 1_000;
const EXCHANGES_SOON = 3;

export class Swim {
  readonly #deps: SwimDeps;
  readonly #table: MemberTable;
  readonly #queue = new BroadcastQueue();
  readonly #awareness = new Awareness();
  readonly #prober: Prober;
  #incarnation = 0;
  #isLeaving = false;
  #isStopped = false;
  #isNewsDue = false;
  /** That were answered. */
  #exchanges = 0;
  /** Sealed by no key of ours, not a letter, or from nobody the server named. */
  refused = 0;

  constructor(config: { readonly name: string }, deps: SwimDeps) {
    this.#deps = deps;
    this.#table = new MemberTable(config.name, deps.random);
    this.#prober = new Prober({
      ...deps,
      table: this.#table,
      awareness: this.#awareness,
      say: (to, message) => this.#say(to, message),
      sayByStream: (to, message) => this.#ask(to, { message, claims: this.#aboutHim(to) }),
      onSilent: (member) => this.#suspect(member),
      onSeen: (member) => this.#seen(member),
    });
  }

  start(): void {
    this.#prober.start();
    this.#exchangeAfter(this.#deps.random.unit() * EXCHANGE_SOON_MS);
  }

  stop(): void {
    this.#isStopped = true;
    this.#prober.stop();
  }

  /** Tells everybody that no more traffic should come. Goes on answering, until stop(). */
  leave(): void {
    this.#isLeaving = true;
    this.#tell({ ...this.#own, status: "left" });
  }

  setMembers(list: readonly MemberAddress[]): void {
    for (const gone of this.#table.replace(list)) this.#queue.forget(gone.name);
  }

  /** Others than this member itself. */
  get members(): MemberView[] {
    return [...this.#table.all()].map(viewOf);
  }
  get awareness(): number {
    return this.#awareness.score;
  }

  receive(datagram: Uint8Array): void {
    if (datagram.length > DATAGRAM_BYTES_MAX) return;
    const letter = this.#open(datagram);
    if (letter !== undefined) this.#hear(letter);
  }

  /** The answer to a question that came by stream; undefined: none. */
  answer(question: Uint8Array): Uint8Array | undefined {
    const letter = this.#open(question);
    if (letter === undefined) return undefined;
    const { message } = letter;
    const from = this.#table.get(message.from);
    if (from === undefined || this.#isStopped) return undefined;
    this.#meet(from);
    this.#hearClaims(letter.claims);
    if (message.is === "exchange") return this.#seal(this.#everything());
    if (message.is !== "ping" || message.to !== this.#table.self) return undefined;
    return this.#seal({ message: this.#ack(message.nonce), claims: [] });
  }

  #open(sealed: Uint8Array): Letter | undefined {
    const opened = this.#deps.keyring.open(sealed);
    const letter = opened === undefined ? undefined : readLetter(opened);
    if (letter !== undefined && this.#table.get(letter.message.from) !== undefined) return letter;
    this.refused++;
    return undefined;
  }

  #seal(letter: Letter): Uint8Array | undefined {
    return this.#deps.keyring.seal(writeLetter(letter));
  }

  #hear({ message, claims }: Letter): void {
    const from = this.#table.get(message.from);
    if (from === undefined || this.#isStopped) return;
    this.#meet(from);
    // First the claims: a suspect that is pinged refutes in its answer.
    this.#hearClaims(claims);
    switch (message.is) {
      case "ping":
        if (message.to === this.#table.self) this.#say(from, this.#ack(message.nonce));
        return;
      case "ack":
        this.#prober.answered(message.nonce, from, message.isLeaving);
        return;
      case "ping_for_me": {
        const to = this.#table.get(message.to);
        if (to !== undefined) this.#prober.askFor(from, to, message.nonce);
        return;
      }
      case "relayed":
      case "no_answer": {
        const to = this.#table.get(message.to);
        if (to !== undefined) {
          this.#prober.thirdAnswered(message.nonce, to, message.is === "relayed");
        }
        return;
      }
      case "gossip":
      case "exchange":
        return;
    }
  }

  #ack(nonce: number): Extract<Message, { is: "ack" }> {
    return { is: "ack", nonce, from: this.#table.self, isLeaving: this.#isLeaving };
  }

  #hearClaims(claims: readonly Claim[]): void {
    for (const claim of claims) {
      const member = this.#table.get(claim.name);
      if (member !== undefined) this.#hearClaim(member, claim);
      else if (claim.name === this.#table.self) this.#hearOfSelf(claim);
    }
  }

  #hearClaim(member: Member, claim: Claim): void {
    const { known } = member;
    if (!overrides(claim, known)) {
      const isSame = claim.status === "suspect" && claim.incarnation === known?.incarnation;
      if (isSame && member.suspicion?.confirm(claim.by) === true) {
        this.#tell(claim);
        this.#awaitRefutation(member);
      }
      return;
    }
    this.#believe(member, claim);
    if (claim.status !== "alive") this.#prober.look(member);
  }

  #hearOfSelf({ status, incarnation }: Claim): void {
    if (status === "alive" || this.#isLeaving) return;
    // An older one was refuted already, and whoever still says it has not heard: once more.
    if (incarnation >= this.#incarnation) {
      this.#incarnation = Math.min(incarnation + 1, INCARNATION_MAX);
      this.#awareness.note(1);
    }
    this.#tell(this.#own);
  }

  /** Our own probe and those of others for us came to nothing. Of whom nobody ever heard that it lives is not accused. */
  #suspect(member: Member): void {
    const { known } = member;
    if (known === undefined) return;
    const claim: Claim = {
      name: member.name,
      status: "suspect",
      incarnation: known.incarnation,
      by: this.#table.self,
    };
    this.#hearClaim(member, claim);
  }

  #seen(member: Member): void {
    this.#deps.onChange(viewOf(member));
  }

  #meet(member: Member): void {
    if (member.known !== undefined) return;
    member.known = { status: "alive", incarnation: 0, sinceMs: this.#deps.clock.nowMs() };
    this.#deps.onChange(viewOf(member));
  }

  #believe(member: Member, claim: Claim): void {
    const { status, incarnation } = claim;
    const nowMs = this.#deps.clock.nowMs();
    const isSame = member.known?.status === status;
    // That somebody lives is no news to those who knew nothing bad of it: a large pool that starts would only speak of that.
    const isNews = status !== "alive" || member.known !== undefined;
    member.known = {
      status,
      incarnation,
      sinceMs: isSame ? (member.known?.sinceMs ?? nowMs) : nowMs,
    };
    member.suspicion = undefined;
    if (isNews) this.#tell(claim);
    if (status === "suspect") this.#suspectFromNow(member, claim.by);
    this.#deps.onChange(viewOf(member));
  }

  #suspectFromNow(member: Member, accuser: string): void {
    const scale = Math.max(1, Math.log10(this.#table.size + 1));
    const minMs = SUSPICION_FACTOR * scale * PROBE_EVERY_MS;
    const wanted = Math.min(CONFIRMATIONS_WANTED, this.#table.size - 1);
    member.suspicion = new Suspicion({ minMs, wanted }, accuser, this.#deps.clock.nowMs());
    this.#awaitRefutation(member);
  }

  #awaitRefutation(member: Member): void {
    const { suspicion } = member;
    if (suspicion === undefined) return;
    const { dueMs } = suspicion;
    this.#deps.timers.after(Math.max(0, dueMs - this.#deps.clock.nowMs()), () => {
      const { known } = member;
      if (this.#isStopped || member.suspicion !== suspicion || known === undefined) return;
      // Confirmations brought it forward: that timer ran already, or is the one that counts.
      if (suspicion.dueMs < dueMs || this.#table.get(member.name) !== member) return;
      if (member.heardMs > suspicion.sinceMs) {
        // It answers us, so its refutation was lost, or its accuser lies: we at least do not say that it is dead. It hears what is
        // said of it from whoever asks it, and this one asks now.
        this.#suspectFromNow(member, this.#table.self);
        this.#prober.look(member);
        return;
      }
      const { incarnation } = known;
      this.#believe(member, {
        name: member.name,
        status: "dead",
        incarnation,
        by: this.#table.self,
      });
    });
  }

  get #own(): Claim {
    const { self } = this.#table;
    return { name: self, status: "alive", incarnation: this.#incarnation, by: self };
  }

  #tell(claim: Claim): void {
    this.#queue.add(claim);
    if (this.#isNewsDue) return;
    this.#isNewsDue = true;
    this.#deps.timers.after(1, () => this.#spread());
  }

  #spread(): void {
    this.#isNewsDue = this.#queue.size > 0 && !this.#isStopped;
    if (!this.#isNewsDue) return;
    const message: Message = { is: "gossip", from: this.#table.self };
    for (const member of this.#table.sample(NEWS_FANOUT, (one) => !one.isUnreachable))
      this.#say(member, message);
    this.#deps.timers.after(NEWS_EVERY_MS, () => this.#spread());
  }

  #exchangeAfter(ms: number): void {
    this.#deps.timers.after(ms, () => {
      if (this.#isStopped) return;
      const scale = Math.max(1, Math.log2((this.#table.size + 1) / 32));
      const vary = 0.5 + this.#deps.random.unit();
      const next = (hasAnswer: boolean): void => {
        if (hasAnswer) this.#exchanges++;
        const isSettled = hasAnswer && this.#exchanges >= EXCHANGES_SOON;
        this.#exchangeAfter((isSettled ? EXCHANGE_EVERY_MS * scale : EXCHANGE_SOON_MS) * vary);
      };
      const [partner] = this.#table.sample(1, (one) => !one.isUnreachable);
      if (partner === undefined) next(false);
      else this.#ask(partner, this.#everything(), next);
    });
  }

  #everything(): Letter {
    const claims: Claim[] = [this.#isLeaving ? { ...this.#own, status: "left" } : this.#own];
    for (const { name, known } of this.#table.all()) {
      if (known !== undefined) claims.push({ name, ...known, by: this.#table.self });
    }
    return { message: { is: "exchange", from: this.#table.self }, claims };
  }

  /** What an accused hears from everybody who speaks to it, so that it can refute (Lifeguard's buddy system). */
  #aboutHim({ name, known }: Member): Claim[] {
    if (known === undefined || known.status === "alive") return [];
    return [{ name, ...known, by: this.#table.self }];
  }

  #say(to: Member, message: Message): void {
    const about = this.#aboutHim(to);
    const used = about.reduce((sum, claim) => sum + claimBytes(claim), letterBytes(message));
    const bytesMax = DATAGRAM_BYTES_MAX - SEAL_BYTES - used;
    const claims = [...about, ...this.#queue.take(bytesMax, this.#table.size + 1, to.name)];
    const sealed = this.#seal({ message, claims });
    if (sealed !== undefined) this.#deps.net.send(to, sealed);
  }

  /** `told`: whether an answer came that can be believed. */
  #ask(to: Member, letter: Letter, told: (hasAnswer: boolean) => void = () => {}): void {
    const sealed = this.#seal(letter);
    if (sealed === undefined) {
      told(false);
      return;
    }
    this.#deps.net.ask(to, sealed, (bytes) => {
      const answer = bytes === undefined ? undefined : this.#open(bytes);
      const isHis = answer !== undefined && answer.message.from === to.name;
      if (isHis) this.#hear(answer);
      told(isHis);
    });
  }
}

function viewOf(member: Member): MemberView {
  const { name, address, port, known, isDown, rttMs } = member;
  return {
    name,
    address,
    port,
    status: known?.status ?? "unheard",
    incarnation: known?.incarnation ?? 0,
    sinceMs: known?.sinceMs ?? 0,
    isDown,
    rttMs,
  };
}
