// Keeps this host's own identity and one per local workload: keys made here, certificates asked of the config server over mTLS,
// renewed from half their life by proof of possession. One task at a time:
//
//   wanted --due--> asking --issued, verified, on disk--> held --half-life + jitter--> due
//                      \--refused or unreachable--> wanted or held, with back-off: the old certificate serves on
//
// A refusal of many is asked again one by one, so that one identity outside the grant does not cost the others theirs.
import type { CertificateRequest, CertificateResponse } from "../api/session.ts";
import { hostIdentity } from "../api/spiffe.ts";
import { Backoff } from "../base/backoff.ts";
import type { Clock, Random, Timer, Timers } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { err, ok, type Result } from "../base/result.ts";
import type { TrustBundle } from "../pki/trust-bundle.ts";
import type { HeldIdentity, IdentityFiles } from "./identity-files.ts";
import type { RequestFailure, ServerClient } from "./server-client.ts";

/** The parts of pki that are loaded when first needed: a start from disk needs none of them. */
export interface CertificateMaker {
  createCsr(identity: string): Promise<{ readonly csrPem: string; readonly keyPem: string }>;
  /** Err says why the chain is not what was asked for. */
  check(
    asked: { readonly identity: string; readonly keyPem: string },
    certificates: readonly string[],
    roots: readonly string[],
  ): Promise<Result<{ readonly notAfterMs: number }, string>>;
}

export interface IdentityConfig {
  readonly host: string;
}
export interface IdentityDeps {
  readonly files: IdentityFiles;
  readonly client: ServerClient;
  readonly maker: CertificateMaker;
  readonly trust: TrustBundle;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Log;
  /** All that may be used now, the host's own first; after boot() and whenever one came, went or changed. */
  onIdentities(identities: readonly HeldIdentity[]): void;
  /** The server told of other roots; they are in `trust` already. */
  onTrust(trust: TrustBundle): Promise<void> | void;
}

/** As many as the server signs at once. */
export const CSRS_PER_REQUEST_MAX = 64;
export const RETRY_BASE_MS = 1_000;
export const RETRY_MAX_MS = 60_000;
/** Timers count monotonic time, certificates wall time: looking this often keeps the two together. */
export const LOOK_INTERVAL_MS = 60_000;
/** Renewals of many hosts that joined together spread over this share of a lifetime, after its half. */
const JITTER_SHARE = 0.1;
/** Refused to the last: when less than this is left, someone has to act. */
const ALARM_MS = 3_600_000;

interface Wanted {
  held: HeldIdentity | undefined;
  /** Wall time; renewal, or the first request. */
  dueAtMs: number;
  readonly backoff: Backoff;
}

export class IdentityKeeper {
  readonly #config: IdentityConfig;
  readonly #deps: IdentityDeps;
  readonly #own: string;
  readonly #wanted = new Map<string, Wanted>();
  #timer: Timer | undefined;
  #work: Promise<unknown> = Promise.resolve();
  #isAsking = false;
  #isStarted = false;
  /** Of the newest follow(). */
  #waiting: (() => void) | undefined;

  constructor(config: IdentityConfig, deps: IdentityDeps) {
    this.#config = config;
    this.#deps = deps;
    this.#own = hostIdentity(deps.trust.trustDomain, config.host);
  }

  get host(): string {
    return this.#config.host;
  }

  get identities(): readonly HeldIdentity[] {
    const own = this.#wanted.get(this.#own)?.held;
    const others = [...this.#wanted.values()].flatMap(({ held }) =>
      held === undefined || held.identity === this.#own ? [] : [held],
    );
    return own === undefined ? others : [own, ...others];
  }

  /** The host's own: presented to the config server. */
  get own(): HeldIdentity | undefined {
    return this.#wanted.get(this.#own)?.held;
  }

  /** Whatever lies on disk serves at once; whose it is no longer is told by follow(). Asks for nothing yet. */
  async boot(): Promise<void> {
    for (const held of await this.#deps.files.load()) this.#hold(held);
    if (!this.#wanted.has(this.#own)) this.#want(this.#own);
    this.#deps.onIdentities(this.identities);
  }

  start(): void {
    this.#isStarted = true;
    this.#look();
  }

  stop(): void {
    this.#isStarted = false;
    this.#timer?.cancel();
    this.#settle();
  }

  /** All become due now: keys may have leaked, or the authority is another. Returns how many. */
  renewAll(): number {
    const nowMs = this.#deps.clock.wallMs();
    for (const wanted of this.#wanted.values()) wanted.dueAtMs = nowMs;
    this.#look();
    return this.#wanted.size;
  }

  /** SPIFFE IDs of the workloads that run here now. Others are forgotten, on disk too. Resolves when all have a certificate,
   *  which a refusal may put off for ever: whoever waits has a deadline. Before start() nothing can come, so it resolves. */
  follow(identities: readonly string[]): Promise<void> {
    const local = new Set([...identities, this.#own]);
    for (const identity of local) if (!this.#wanted.has(identity)) this.#want(identity);
    const gone = [...this.#wanted.keys()].filter((identity) => !local.has(identity));
    const lost = gone.filter((identity) => this.#wanted.get(identity)?.held !== undefined);
    for (const identity of gone) this.#wanted.delete(identity);
    if (lost.length > 0) {
      this.#deps.onIdentities(this.identities);
      this.#inTurn(() => this.#forget(lost)).catch((cause: unknown) =>
        this.#deps.log.error("identities that left are still on disk", { cause: String(cause) }),
      );
    }
    this.#look();
    this.#waiting?.(); // Another set is waited for now.
    return new Promise((resolve) => {
      this.#waiting = resolve;
      this.#settle();
    });
  }

  #settle(): void {
    const isComplete = [...this.#wanted.values()].every(({ held }) => held !== undefined);
    if (!isComplete && this.#isStarted) return;
    this.#waiting?.();
    this.#waiting = undefined;
  }

  async #forget(identities: readonly string[]): Promise<void> {
    for (const identity of identities) {
      // It may be wanted again by the time this runs.
      if (!this.#wanted.has(identity)) await this.#deps.files.remove(identity);
    }
  }

  #want(identity: string): void {
    const backoff = new Backoff({ baseMs: RETRY_BASE_MS, maxMs: RETRY_MAX_MS }, this.#deps.random);
    this.#wanted.set(identity, { held: undefined, dueAtMs: this.#deps.clock.wallMs(), backoff });
  }

  #hold(held: HeldIdentity): void {
    if (!this.#wanted.has(held.identity)) this.#want(held.identity);
    const wanted = this.#wanted.get(held.identity);
    if (wanted === undefined) return;
    const lifetimeMs = held.notAfterMs - held.issuedAtMs;
    wanted.held = held;
    wanted.dueAtMs = held.issuedAtMs + lifetimeMs * (0.5 + JITTER_SHARE * this.#deps.random.unit());
    wanted.backoff.reset();
  }

  /** Asks for what is due; sets the timer for what comes next. */
  #look(): void {
    if (!this.#isStarted || this.#isAsking) return;
    this.#timer?.cancel();
    const nowMs = this.#deps.clock.wallMs();
    const due = [...this.#wanted]
      .filter(([, { dueAtMs }]) => dueAtMs <= nowMs)
      .map(([identity]) => identity);
    if (due.length > 0) {
      this.#isAsking = true;
      this.#inTurn(() => this.#renew(due.slice(0, CSRS_PER_REQUEST_MAX)))
        .catch((cause: unknown) => {
          // E.g. a full disk: the certificate that could not be kept is asked for again.
          this.#postpone(due, cause instanceof Error ? cause.message : "unknown");
        })
        .finally(() => {
          this.#isAsking = false;
          this.#look();
        });
      return;
    }
    const nextMs = Math.min(...[...this.#wanted.values()].map(({ dueAtMs }) => dueAtMs - nowMs));
    this.#timer = this.#deps.timers.after(Math.min(LOOK_INTERVAL_MS, nextMs), () => this.#look());
  }

  #inTurn(task: () => Promise<void>): Promise<void> {
    const done = this.#work.then(task);
    this.#work = done.catch(() => undefined); // Told to whoever asked for it.
    return done;
  }

  async #renew(identities: readonly string[]): Promise<void> {
    const answer = await this.#ask(identities);
    if (answer.ok) {
      if (answer.value > 0) this.#deps.onIdentities(this.identities);
      this.#settle();
      return;
    }
    if (answer.error.is === "refused" && identities.length > 1) {
      for (const identity of identities) await this.#renew([identity]);
      return;
    }
    const { error } = answer;
    this.#postpone(
      identities,
      error.is === "refused"
        ? [
            `${error.code}: ${error.message}`,
            ...(error.next === undefined ? [] : [error.next]),
          ].join("; ")
        : error.reason,
    );
  }

  /** Ok: how many are new and on disk. */
  async #ask(identities: readonly string[]): Promise<Result<number, RequestFailure>> {
    const { client, maker, trust, clock, files } = this.#deps;
    const asked: { identity: string; csrPem: string; keyPem: string }[] = [];
    for (const identity of identities)
      asked.push({ identity, ...(await maker.createCsr(identity)) });
    const body: CertificateRequest = { csrs: asked.map(({ csrPem }) => csrPem) };
    const answer = await client.post("/v1/certificates", body);
    if (!answer.ok) return answer;
    const response = readResponse(answer.value, asked.length);
    if (response === undefined)
      return err({ is: "unreachable", reason: "the answer is not of the form agreed on" });
    await this.#believe(response.trustBundle);
    let count = 0;
    for (const [at, { identity, keyPem }] of asked.entries()) {
      const certificates = response.issued[at]?.certificates ?? [];
      const checked = await maker.check({ identity, keyPem }, certificates, trust.roots);
      if (!checked.ok) {
        this.#postpone([identity], `the certificate that came is not ours: ${checked.error}`);
        continue;
      }
      if (!this.#wanted.has(identity)) continue; // Its workload left meanwhile.
      const { notAfterMs } = checked.value;
      const held = { identity, certificates, keyPem, issuedAtMs: clock.wallMs(), notAfterMs };
      await files.write(held);
      this.#hold(held);
      count++;
      this.#deps.log.info("certificate issued", {
        identity,
        notAfter: new Date(notAfterMs).toISOString(),
      });
    }
    return ok(count);
  }

  async #believe(roots: readonly string[]): Promise<void> {
    const { trust, log } = this.#deps;
    const replaced = trust.replace(roots);
    if (!replaced.ok)
      log.error("the server's trust bundle is refused, ours goes on", { reason: replaced.error });
    else if (replaced.value) {
      log.info("trust bundle replaced", { hash: trust.hash, roots: trust.roots.length });
      await this.#deps.onTrust(trust);
    }
  }

  #postpone(identities: readonly string[], reason: string): void {
    const nowMs = this.#deps.clock.wallMs();
    for (const identity of identities) {
      const wanted = this.#wanted.get(identity);
      if (wanted === undefined) continue;
      wanted.dueAtMs = nowMs + wanted.backoff.nextMs();
      const leftMs = (wanted.held?.notAfterMs ?? nowMs) - nowMs;
      const level = wanted.held !== undefined && leftMs < ALARM_MS ? "error" : "warn";
      const serving =
        wanted.held === undefined
          ? "nothing"
          : leftMs > 0
            ? "the old certificate"
            : "an expired one";
      this.#deps.log[level]("no certificate yet", { identity, reason, serving });
    }
  }
}

function readResponse(value: unknown, count: number): CertificateResponse | undefined {
  const { issued, trustBundle } = (value ?? {}) as { readonly [name: string]: unknown };
  if (!Array.isArray(issued) || issued.length !== count || !isTexts(trustBundle)) return undefined;
  for (const one of issued) {
    if (!isTexts((one as { certificates?: unknown } | null)?.certificates)) return undefined;
  }
  return { issued: issued as CertificateResponse["issued"], trustBundle };
}

const isTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((text) => typeof text === "string");
