// Finds out who answers. Two things with one wire:
//
//   probe   one member a period, in turn: ping, then by others (SWIM); nobody got an answer: it is suspected, and all hear of it
//   look    this member's own: several pings and a stream; no answer to any: it is unreachable from here
//
// A probe says whom to look at; only a look lowers health. Whoever finds its own timers late was itself away (stopped, starved):
// what it missed meanwhile says nothing about others. A probe is asked anew; of a look, time away does not count.
import type { Clock, Timer, Timers } from "../base/clock.ts";
import type { Awareness } from "./awareness.ts";
import { type Message, NONCE_BYTES } from "./codec.ts";
import type { Member, MemberTable } from "./member.ts";

export const PROBE_EVERY_MS = 200;
/** Until everybody was asked once: who never answered us is not accused by us. */
const GREET_EVERY_MS = 50;
/** How long a ping of a member with an unknown round trip may take. */
const FIRST_TIMEOUT_MS = 500;
const TIMEOUT_MIN_MS = 100;
const TIMEOUT_MAX_MS = 1_000;
/** Answers that are no further apart come from one waking up. */
const TOGETHER_MS = 50;
/** After that, how long others may take to get an answer for us. */
const INDIRECT_MS = 150;
const INDIRECT_MEMBERS = 3;
/** A look: a ping each step, a stream at the second; long enough for lost packets, short enough that traffic leaves in time. */
export const LOOK_MS = 500;
const LOOK_STEP_MS = 125;
/** How many times longer a member that is not well itself looks: it counts its own absence already. */
const LOOK_FACTOR_MAX = 2;
/** An unreachable member is asked again this often; in large pools less, so that a sick host is not buried in questions. */
const RELOOK_MS = 1_000;
const RELOOK_MS_PER_MEMBER = 2;
/** A timer that is later than this says that we were away. */
const STALL_MS = 150;
const ASKED_FOR_MS = 3_000;
const ASKED_MAX = 8_192;
const RELAYS_MAX = 256;

interface Asked {
  readonly member: Member;
  readonly sentMs: number;
  /** Whom to tell. */
  readonly relay: { readonly by: Member; readonly nonce: number } | undefined;
  /** What is due unless it is answered. */
  patience: Timer | undefined;
}

export interface ProberDeps {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly table: MemberTable;
  readonly awareness: Awareness;
  randomBytes(count: number): Uint8Array;
  say(to: Member, message: Message): void;
  /** The same by stream; the answer comes as any other. */
  sayByStream(to: Member, message: Message): void;
  /** Neither we nor others got an answer, or a look of ours ended without. */
  onSilent(member: Member): void;
  /** isUnreachable or isLeaving changed, or it was heard for the first time. */
  onSeen(member: Member): void;
}

export class Prober {
  readonly #deps: ProberDeps;
  readonly #asked = new Map<number, Asked>();
  #relays = 0;
  #isStopped = false;
  /** When this member was last found to have been away, and for how long in all. */
  #awayMs = Number.NEGATIVE_INFINITY;
  #awayForMs = 0;
  /** When an asked third last said anything: our own network works then. */
  #thirdHeardMs = Number.NEGATIVE_INFINITY;

  constructor(deps: ProberDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#probeNext();
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** Starts a look, unless one is under way or its result is known. `sinceMs`: of a ping that nobody answered so far. */
  look(member: Member, sinceMs = this.#now): void {
    if (member.lookSinceMs !== undefined || member.isUnreachable) return;
    member.lookSinceMs = sinceMs;
    this.#lookOn(member, { sinceMs, awayForMs: this.#awayForMs }, 0);
  }

  /** An answer to a question of ours, or of nobody. */
  answered(nonce: number, from: Member, isLeaving: boolean): void {
    const asked = this.#asked.get(nonce);
    if (asked === undefined || asked.member !== from) return;
    this.#forget(nonce);
    if (asked.patience !== undefined) {
      asked.patience.cancel();
      this.#deps.awareness.note(-1);
    }
    if (asked.relay !== undefined) {
      const { by, nonce } = asked.relay;
      this.#deps.say(by, { is: "relayed", nonce, from: this.#deps.table.self, to: from.name });
    }
    this.#heard(from, this.#now - asked.sentMs, isLeaving);
  }

  /** A third got an answer, or none, for a question of ours. */
  thirdAnswered(nonce: number, to: Member, hasAnswer: boolean): void {
    const asked = this.#asked.get(nonce);
    if (asked?.member !== to) return;
    this.#thirdHeardMs = this.#now;
    if (hasAnswer) to.relayedMs = this.#now;
  }

  /** Somebody asks us to ask. */
  askFor(by: Member, to: Member, nonce: number): void {
    if (this.#relays >= RELAYS_MAX) return;
    this.#relays++;
    const sentMs = this.#now;
    this.#ping(to, { by, nonce });
    this.#after(this.#timeoutOf(to), () => {
      this.#relays--;
      if (to.heardMs >= sentMs) return;
      this.#deps.say(by, { is: "no_answer", nonce, from: this.#deps.table.self, to: to.name });
    });
  }

  #probeNext(): void {
    this.#sweep();
    const member = this.#deps.table.next();
    if (member !== undefined) this.#probe(member);
    const everyMs = this.#deps.table.round === 0 ? GREET_EVERY_MS : PROBE_EVERY_MS;
    this.#after(everyMs, () => this.#probeNext());
  }

  #probe(member: Member): void {
    const sentMs = this.#now;
    member.probedMs = sentMs;
    const nonce = this.#ping(member);
    const timeoutMs = this.#timeoutOf(member);
    const asked = this.#asked.get(nonce);
    const patience = this.#after(timeoutMs, () => {
      if (asked !== undefined) asked.patience = undefined;
      if (member.heardMs >= sentMs) this.#deps.awareness.note(-1);
      else if (this.#awayMs >= sentMs) this.#probeAnew(member, sentMs);
      else this.#probeByOthers(member, { sentMs, nonce, timeoutMs });
    });
    if (asked !== undefined) asked.patience = patience;
  }

  #probeByOthers(
    member: Member,
    { sentMs, nonce, timeoutMs }: { sentMs: number; nonce: number; timeoutMs: number },
  ): void {
    this.look(member, sentMs);
    const from = this.#deps.table.self;
    const suits = (one: Member) => one !== member && one.wasHeard && !one.isUnreachable;
    for (const third of this.#deps.table.sample(INDIRECT_MEMBERS, suits))
      this.#deps.say(third, { is: "ping_for_me", nonce, from, to: member.name });
    this.#after(Math.max(INDIRECT_MS, timeoutMs), () => this.#judge(member, sentMs));
  }

  #judge(member: Member, sentMs: number): void {
    const { awareness } = this.#deps;
    if (member.heardMs >= sentMs) awareness.note(-1);
    else if (this.#awayMs >= sentMs) this.#probeAnew(member, sentMs);
    else if (member.relayedMs < sentMs) {
      if (this.#thirdHeardMs < sentMs) awareness.note(1);
      this.#deps.onSilent(member);
    }
  }

  /** Unless its turn came again meanwhile. */
  #probeAnew(member: Member, sentMs: number): void {
    this.look(member);
    if (member.probedMs === sentMs) this.#probe(member);
  }

  /** `since`: the first question, and how long this member had been away by then. */
  #lookOn(member: Member, since: { sinceMs: number; awayForMs: number }, step: number): void {
    if (member.heardMs >= since.sinceMs) {
      member.lookSinceMs = undefined;
      return;
    }
    const factor = Math.min(this.#deps.awareness.scale(1), LOOK_FACTOR_MAX);
    const patienceMs = factor * LOOK_MS + 2 * (member.rttMs ?? 0);
    const awakeMs = this.#now - since.sinceMs - (this.#awayForMs - since.awayForMs);
    // Just back, it has not read yet what waits in its socket.
    const isJustBack = this.#now - this.#awayMs < LOOK_STEP_MS;
    if (awakeMs >= patienceMs && !isJustBack) {
      member.lookSinceMs = undefined;
      member.isUnreachable = true;
      this.#deps.onSeen(member);
      // Whoever looked because somebody else suspects it confirms that; one that others reach is not accused.
      if (member.suspicion !== undefined) this.#deps.onSilent(member);
      this.#lookAgain(member);
      return;
    }
    this.#ping(member);
    if (step === 1) this.#pingByStream(member);
    this.#after(LOOK_STEP_MS, () => this.#lookOn(member, since, step + 1));
  }

  /** Until it answers. */
  #lookAgain(member: Member): void {
    const everyMs = Math.max(RELOOK_MS, RELOOK_MS_PER_MEMBER * this.#deps.table.size);
    this.#after(everyMs, () => {
      if (!member.isUnreachable || this.#deps.table.get(member.name) !== member) return;
      this.#ping(member);
      this.#pingByStream(member);
      this.#lookAgain(member);
    });
  }

  #heard(member: Member, rttMs: number, isLeaving: boolean): void {
    const isNews = !member.wasHeard || member.isUnreachable || member.isLeaving !== isLeaving;
    member.rttMs = this.#smoothed(member, rttMs);
    member.heardMs = this.#now;
    member.isUnreachable = false;
    member.isLeaving = isLeaving;
    if (isNews) this.#deps.onSeen(member);
  }

  /** Down at once, up slowly, and once for answers that come together: what answers late was mostly busy or stopped, and must not be
   *  waited for as if it were far away. */
  #smoothed(member: Member, rttMs: number): number {
    const { rttMs: before, heardMs } = member;
    if (before === undefined) return rttMs;
    if (rttMs < before) return (before + rttMs) / 2;
    if (this.#now - heardMs < TOGETHER_MS) return before;
    return before + (Math.min(rttMs, this.#timeoutOf(member)) - before) / 8;
  }

  #ping(member: Member, relay?: Asked["relay"]): number {
    const message = this.#question(member, relay);
    this.#deps.say(member, message);
    return message.nonce;
  }

  #pingByStream(member: Member): void {
    this.#deps.sayByStream(member, this.#question(member, undefined));
  }

  #question(member: Member, relay: Asked["relay"]): Extract<Message, { is: "ping" }> {
    if (this.#asked.size >= ASKED_MAX) this.#forgetOldest();
    const nonce = nonceOf(this.#deps.randomBytes(NONCE_BYTES));
    this.#asked.set(nonce, { member, sentMs: this.#now, relay, patience: undefined });
    return { is: "ping", nonce, from: this.#deps.table.self, to: member.name };
  }

  #timeoutOf({ rttMs }: Member): number {
    const ms =
      rttMs === undefined
        ? FIRST_TIMEOUT_MS
        : Math.min(TIMEOUT_MAX_MS, Math.max(TIMEOUT_MIN_MS, 3 * rttMs + 50));
    return this.#deps.awareness.scale(ms);
  }

  #sweep(): void {
    const overdueMs = this.#now - ASKED_FOR_MS;
    for (const [nonce, { sentMs }] of this.#asked) {
      if (sentMs > overdueMs) break;
      this.#forget(nonce);
    }
  }
  #forgetOldest(): void {
    for (const nonce of this.#asked.keys()) {
      this.#forget(nonce);
      return;
    }
  }
  #forget(nonce: number): void {
    this.#asked.delete(nonce);
  }

  get #now(): number {
    return this.#deps.clock.nowMs();
  }

  #after(ms: number, task: () => void): Timer {
    const dueMs = this.#now + ms;
    return this.#deps.timers.after(ms, () => {
      if (this.#isStopped) return;
      const nowMs = this.#now;
      if (nowMs - dueMs > STALL_MS) {
        if (nowMs - this.#awayMs > STALL_MS) this.#deps.awareness.note(1);
        // Timers run in the order they were due: what an earlier one counted is not counted again.
        this.#awayForMs += nowMs - Math.max(dueMs, this.#awayMs);
        this.#awayMs = nowMs;
      }
      task();
    });
  }
}

function nonceOf(bytes: Uint8Array): number {
  let nonce = 0;
  for (const byte of bytes) nonce = nonce * 256 + byte;
  return nonce;
}
