// Host names of endpoints, kept looked up for as long as somebody on this host uses them: each when its answer's time is over, after
// failures at growing intervals. One thread of the agent does this for all; what it learns it tells, and remembers no address.
//
//   unknown --want--> asking --answer, failure--> waiting --due--> asking
//                                                    `--due, and unused--> unknown
import { Backoff } from "../base/backoff.ts";
import type { Random, Timer, Timers } from "../base/clock.ts";
import type { NameNews } from "../policy/told-names.ts";
import type { AddressType } from "../protocol/dns-lookup.ts";
import type { LookupOutcome } from "./lookup.ts";
import { unusableAddress } from "./unusable-address.ts";

/** However short an answer's time is said to be, it is used this long. */
export const LOOKUP_TTL_SECONDS_MIN = 5;
/** And no longer than this, however long. */
export const LOOKUP_TTL_SECONDS_MAX = 3_600;
/** The same of "there is none": a name that comes to be is soon seen. */
const ABSENT_TTL_SECONDS_MAX = 60;
/** After a failure; doubles up to the second. */
const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 60_000;
/** A name that nobody used for so long is not looked up any more. */
export const UNUSED_MS = 600_000;
/** Names that are looked up for this host; more are told to fail. */
export const WATCHED_NAMES_MAX = 1_024;
/** Names that resolvers are asked about at once; others wait. */
export const LOOKUPS_AT_ONCE_MAX = 32;

export interface NameWatchDeps {
  lookUp(
    question: { name: string; type: AddressType },
    done: (outcome: LookupOutcome) => void,
  ): void;
  readonly timers: Timers;
  readonly random: Random;
  nowMs(): number;
  /** Is it an address of this host? */
  isLocalAddress(address: string): boolean;
  tell(news: NameNews): void;
}

interface Watched {
  readonly name: string;
  readonly backoff: Backoff;
  wantedMs: number;
  timer: Timer | undefined;
  isOver: boolean;
}

export class NameWatch {
  readonly #families: readonly AddressType[];
  readonly #deps: NameWatchDeps;
  readonly #watched = new Map<string, Watched>();
  readonly #waiting: Watched[] = [];
  #asking = 0;

  constructor(config: { readonly hasIpv6: boolean }, deps: NameWatchDeps) {
    this.#families = config.hasIpv6 ? ["A", "AAAA"] : ["A"];
    this.#deps = deps;
  }

  /** Somebody uses it. */
  want(name: string): void {
    const known = this.#watched.get(name);
    if (known !== undefined) {
      known.wantedMs = this.#deps.nowMs();
      return;
    }
    if (this.#watched.size >= WATCHED_NAMES_MAX) {
      const reason = `this host looks up ${WATCHED_NAMES_MAX} names already`;
      this.#deps.tell({ is: "failed", name, reason });
      return;
    }
    const bounds = { baseMs: RETRY_MS_MIN, maxMs: RETRY_MS_MAX };
    const watched = {
      name,
      backoff: new Backoff(bounds, this.#deps.random),
      wantedMs: this.#deps.nowMs(),
      timer: undefined,
      isOver: false,
    };
    this.#watched.set(name, watched);
    this.#ask(watched);
  }

  /** No endpoint has it any more. */
  drop(name: string): void {
    const watched = this.#watched.get(name);
    if (watched !== undefined) this.#end(watched);
  }

  #end(watched: Watched): void {
    watched.isOver = true;
    watched.timer?.cancel();
    this.#watched.delete(watched.name);
    const at = this.#waiting.indexOf(watched);
    if (at >= 0) this.#waiting.splice(at, 1);
  }

  #ask(watched: Watched): void {
    if (this.#asking >= LOOKUPS_AT_ONCE_MAX) {
      this.#waiting.push(watched);
      return;
    }
    this.#asking++;
    const outcomes: LookupOutcome[] = [];
    this.#families.forEach((type, i) => {
      this.#deps.lookUp({ name: watched.name, type }, (outcome) => {
        outcomes[i] = outcome;
        if (this.#families.every((_, at) => outcomes[at] !== undefined))
          this.#answered(watched, outcomes);
      });
    });
  }

  #answered(watched: Watched, outcomes: readonly LookupOutcome[]): void {
    this.#asking--;
    const next = this.#waiting.shift();
    if (next !== undefined) this.#ask(next);
    if (watched.isOver) return;
    const news = this.#newsOf(watched.name, outcomes);
    this.#deps.tell(news);
    if (news.is === "failed") this.#askIn(watched, watched.backoff.nextMs());
    else {
      watched.backoff.reset();
      this.#askIn(watched, news.ttlSeconds * 1_000);
    }
  }

  #askIn(watched: Watched, waitMs: number): void {
    watched.timer = this.#deps.timers.after(waitMs, () => {
      const { name, wantedMs } = watched;
      if (this.#deps.nowMs() - wantedMs < UNUSED_MS) {
        this.#ask(watched);
        return;
      }
      this.#end(watched);
      this.#deps.tell({ is: "unused", name });
    });
  }

  /** A family that fails is missed only where the other has nothing: many a resolver fails at AAAA for ever. */
  #newsOf(
    name: string,
    outcomes: readonly LookupOutcome[],
  ): Exclude<NameNews, { readonly is: "unused" }> {
    const answers = outcomes.filter((one) => one.is === "answered");
    const found = answers.flatMap((one) => one.found.addresses);
    const failed = outcomes.find((one) => one.is === "failed");
    const [first] = answers;
    if (first === undefined || (found.length === 0 && failed !== undefined))
      return { is: "failed", name, reason: failed?.reason ?? "" };
    const refused: string[] = [];
    const addresses = found.filter((address) => {
      const why = unusableAddress(address, this.#deps.isLocalAddress);
      if (why !== undefined) refused.push(`${address}: ${why}`);
      return why === undefined;
    });
    // The shortest of those that found something; where nothing was found, of all.
    const telling = found.length === 0 ? answers : answers.filter(hasFound);
    const said = Math.min(...telling.map((one) => one.found.ttlSeconds));
    const most = found.length === 0 ? ABSENT_TTL_SECONDS_MAX : LOOKUP_TTL_SECONDS_MAX;
    const ttlSeconds = Math.min(most, Math.max(LOOKUP_TTL_SECONDS_MIN, said));
    const resolver = (telling[0] ?? first).resolver;
    return { is: "answered", name, addresses, refused, ttlSeconds, resolver };
  }
}

const hasFound = (one: Extract<LookupOutcome, { readonly is: "answered" }>): boolean =>
  one.found.addresses.length > 0;
