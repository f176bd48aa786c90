// One case of the two-sided fuzz: bytes of a client and answers of an app, run through the agent's data plane, and what must hold
// of the bytes that came out at either end. The reader that judges is naive-exchange.ts, which shares nothing with the codec.

import {
  asksForTunnel,
  endToEnd,
  type NaiveTaken,
  normalizedTarget,
  takeMessage,
} from "../support/naive-exchange.ts";
import { Hop, type HopOptions } from "../support/one-hop.ts";
import type { TextEnd } from "../support/text-stream.ts";
import type { Shown } from "./llhttp.ts";

export interface ProxyCase {
  /** Latin-1. */
  readonly client: string;
  /** By the order in which requests reach the app; the last one stands for all that follow. */
  readonly answers: readonly AppAnswer[];
  readonly travel: NonNullable<HopOptions["travel"]>;
  readonly way: NonNullable<HopOptions["way"]>;
  /** Of the network: where bytes are cut, and when they arrive. */
  readonly seed: number;
}
export interface AppAnswer {
  readonly text: string;
  /** Answers when the head is there, whatever is still to come. */
  readonly isEarly: boolean;
  /** Ends its direction behind the answer. */
  readonly ends: boolean;
}

const shownAs = (kind: Shown["kind"], method: string, text: string): Shown => ({
  kind,
  method,
  text,
});

interface Seen {
  request: NaiveTaken;
  /** Its bytes, up to its end or as far as they have come. */
  raw: string;
  /** Answered before it was whole. */
  wasEarly: boolean;
  /** What the app said to it. */
  said: string;
  end: TextEnd;
}

const QUICK = {
  headerTimeoutMs: 2_000,
  bodyTimeoutMs: 1_500,
  streamIdleTimeoutMs: 2_500,
  idleTimeoutMs: 4_000,
};
/** Fields the agent adds to a request. */
const ADDED = /^(x-request-id|traceparent|connection|te|upgrade|x-forwarded-client-cert)=/;

class App {
  readonly seen: Seen[] = [];
  readonly #answers: readonly AppAnswer[];
  /** Ends that direction once what is said to be said has left. */
  readonly #endBehind: (end: TextEnd, said: string) => void;
  /** Of each connection: what is not read yet, and the request that is not whole. */
  readonly #left = new Map<TextEnd, { text: string; open: Seen | undefined; isTunnel: boolean }>();
  tunnelled = "";

  constructor(answers: readonly AppAnswer[], endBehind: (end: TextEnd, said: string) => void) {
    this.#answers = answers;
    this.#endBehind = endBehind;
  }

  /** Reads what came; returns what to say. */
  hear(end: TextEnd): string {
    const state = this.#left.get(end) ?? { text: "", open: undefined, isTunnel: false };
    this.#left.set(end, state);
    state.text += end.take();
    let said = "";
    for (;;) {
      if (state.isTunnel) {
        this.tunnelled += state.text;
        state.text = "";
        return said;
      }
      const request = takeMessage(state.text, "request");
      if (request === undefined) return said;
      const seen = state.open ?? { request, raw: "", wasEarly: false, said: "", end };
      if (state.open === undefined) this.seen.push(seen);
      state.open = seen;
      seen.request = request;
      seen.raw = state.text.slice(0, state.text.length - request.rest.length);
      said += this.#answer(seen);
      if (!request.isWhole) return said;
      state.text = request.rest;
      state.open = undefined;
      state.isTunnel = asksForTunnel(request) && seen.said.startsWith("HTTP/1.1 101");
    }
  }

  #answer(seen: Seen): string {
    const answer = this.#answers[Math.min(this.seen.length, this.#answers.length) - 1];
    const isDue = seen.request.isWhole || answer?.isEarly === true;
    if (answer === undefined || seen.said !== "" || !isDue) return "";
    seen.wasEarly = !seen.request.isWhole;
    seen.said = answer.text;
    if (answer.ends) this.#endBehind(seen.end, answer.text);
    return answer.text;
  }

  /** What no request was read out of. */
  leftOver(): { text: string; end: TextEnd }[] {
    return [...this.#left].map(([end, state]) => ({
      text: state.open === undefined ? state.text : "",
      end,
    }));
  }
}

function insist(claim: boolean, what: string, ...facts: unknown[]): void {
  if (!claim) throw new Error(`${what}: ${JSON.stringify(facts)}`);
}
const insistSame = (found: unknown, wanted: unknown, what: string): void =>
  insist(JSON.stringify(found) === JSON.stringify(wanted), what, found, wanted);

/** Runs it; throws for whatever does not hold. Says how many requests passed and how many answers came back whole. */
export function runCase(one: ProxyCase): { passed: number; answered: number; shown: Shown[] } {
  const { travel, way, seed } = one;
  // In virtual time: a microtask would run when all cases are over, and keep the world of each until then.
  const app = new App(one.answers, (end, said) => {
    hop.mesh.clock.after(travel === "bytes" ? said.length : 0, () => end.end());
  });
  const hop: Hop = new Hop((end) => app.hear(end) || undefined, {
    travel,
    way,
    seed,
    config: QUICK,
    accessLog: "on",
  });
  hop.say(one.client);
  hop.pass(3_000);
  hop.client.end();
  hop.pass(6_000);
  checkRequests(one, app);
  const answers = checkResponses(one, hop, app);
  const text = hop.client.text;
  hop.expectNothingLeft();
  insist(hop.client.text === text, "said more to a client that is gone");
  const whole = app.seen.filter((seen) => seen.request.isWhole);
  const asked = whole.map(({ request, raw }) => shownAs("request", request.line[0], raw));
  return { passed: app.seen.length, answered: answers.length, shown: [...asked, ...answers] };
}

/** Each request that the app saw is one that the client sent, in the same order. One may be missing: its connection broke under it. */
function checkRequests(one: ProxyCase, app: App): void {
  const all = messagesIn(one.client);
  const known = new Set(all.map(idOf));
  let at = -1;
  let lastId: string | undefined;
  for (const { request, wasEarly, end } of app.seen) {
    const id = idOf(request);
    // Else it is the same once more: a pooled connection had died under it.
    if (id !== lastId) {
      at = all.findIndex(
        (sent, i) => i > at && (idOf(sent) ?? id) === id && !(known.has(id) && idOf(sent) !== id),
      );
    }
    lastId = id;
    const sent = all[at];
    if (sent === undefined) throw new Error(`the client never sent ${JSON.stringify(request)}`);
    checkHead(sent, request);
    if (request.isWhole) {
      insist(sent.isWhole, "passed as whole what is not", sent, request);
      insistSame(request.body, sent.body, "another body");
    } else {
      insist(
        sent.body.startsWith(request.body),
        "another beginning of a body",
        request.body,
        sent.body,
      );
      const isCut = end.closed !== undefined || end.hasEnded;
      insist(isCut, "a request was left unfinished on a living connection", wasEarly, request);
    }
  }
  for (const { text, end } of app.leftOver()) {
    insist(text === "" || end.closed?.is === "failed", "the app is left with half a head", text);
  }
}

function checkHead(sent: NaiveTaken, request: NaiveTaken): void {
  insistSame(
    request.line,
    [sent.line[0], normalizedTarget(sent.line[0], sent.line[1]), "HTTP/1.1"],
    "another request line",
  );
  const isOld = sent.line[2] === "HTTP/1.0";
  const wanted = endToEnd(sent.fields).filter(
    (field) => !ADDED.test(field) && !(isOld && field.startsWith("expect=")),
  );
  const found = request.fields.map(([name, value]) => `${name}=${value}`);
  insistSame(
    found.filter((field) => !ADDED.test(field)),
    wanted,
    "other fields",
  );
  const has = (pattern: RegExp): boolean => found.some((field) => pattern.test(field));
  insist(has(/^upgrade=/) === asksForTunnel(sent), "Upgrade passed or was lost", sent, request);
  insist(!has(/^x-forwarded-client-cert=.*forged/), "a forged identity passed", request);
  insist(!has(/^te=(?!trailers$)/i), "TE passed", request);
}

/** Each answer that the client has is the app's to that very request, or an agent's own, in the order of requests. */
function checkResponses(one: ProxyCase, hop: Hop, app: App): Shown[] {
  const accounts = new Accounts(one, app);
  const { client, server } = hop.mesh;
  // With two agents between, the client's is the one that says what its client got.
  const records = (one.way === "inbound" ? server : client).records();
  const peers = one.way === "mesh" ? server.records() : [];
  let rest = hop.client.text;
  const answers: Shown[] = [];
  for (const record of records) {
    const tries = accounts.of(record);
    const details = String(record["response_code_details"]);
    const code = record["response_code"];
    const method = String(record["method"] ?? "GET");
    const isPeers = peers.some((other) => other["response_code"] === code && !isApps(other));
    if (isApps(record) && isAnswered(rest, tries)) {
      const before = takeInterims(rest, tries);
      rest = takeAnswered(rest, tries);
      answers.push(shownAs("response", method, before.slice(0, before.length - rest.length)));
      if (code === 101) rest = takeTunnel(rest, tries);
    } else if (isCut(details)) {
      checkCut(hop, rest, tries);
      rest = "";
    } else {
      insist(!isApps(record) || isPeers, "no answer of the app", rest, tries, record);
      rest = takeOwn(rest, method, code, tries);
    }
  }
  insist(rest === "", "bytes behind the last answer", rest, hop.client.text, records);
  return answers;
}

const isApps = (record: Record<string, unknown>): boolean =>
  record["response_code_details"] === "via_upstream";

function wasOffered({ request, said }: Seen): boolean {
  const list = (message: NaiveTaken | undefined): string[] =>
    (message?.fields ?? [])
      .filter(([name]) => name === "upgrade")
      .flatMap(([, value]) => value.toLowerCase().split(/[ \t]*,[ \t]*/));
  const offers = list(request);
  return list(finalOf(said, request.line[0])).every((one) => offers.includes(one));
}

/** Nobody was left to answer, or part of an answer was out. */
const isCut = (details: string): boolean =>
  details.includes("after_response_started") || details === "downstream_remote_disconnect";

const isAnswered = (text: string, tries: readonly Seen[]): boolean =>
  tries.some((seen) => takeAnswer(text, seen, tries) !== undefined);

function takeAnswered(text: string, tries: readonly Seen[]): string {
  for (const seen of tries) {
    const taken = takeAnswer(text, seen, tries);
    if (taken !== undefined) return taken.rest;
  }
  throw new Error("asked of an answer that is none");
}

function takeTunnel(text: string, tries: readonly Seen[]): string {
  insist(tries.some(wasOffered), "a tunnel that was not offered", tries);
  insist(
    tries.some((seen) => seen.said.endsWith(text)),
    "a tunnel said something else",
    text,
  );
  return "";
}

const idOf = ({ fields }: NaiveTaken): string | undefined =>
  fields.find(([name]) => name === "x-request-id")?.[1];

/** Up to the first that is not whole, which is the last. */
function messagesIn(client: string): NaiveTaken[] {
  const all: NaiveTaken[] = [];
  let taken = takeMessage(client, "request");
  while (taken !== undefined) {
    all.push(taken);
    taken = taken.isWhole ? takeMessage(taken.rest, "request") : undefined;
  }
  return all;
}

/** The requests that a record speaks of: one, or once more after its connection had died. */
class Accounts {
  readonly #seen: readonly Seen[];
  readonly #accounted = new Set<string | undefined>();
  readonly #known: ReadonlySet<string | undefined>;

  constructor(one: ProxyCase, app: App) {
    this.#seen = app.seen;
    this.#known = new Set(messagesIn(one.client).map(idOf));
  }

  of(record: Record<string, unknown>): Seen[] {
    if (record["upstream_cluster"] === undefined) return [];
    const isNext = ({ request }: Seen): boolean =>
      !this.#known.has(idOf(request)) &&
      !this.#accounted.has(idOf(request)) &&
      request.line[1] === record["path"];
    // The agent's own ids are in no record.
    const next = this.#seen.find(isNext);
    const id = record["request_id"] ?? (next && idOf(next.request));
    const found = this.#seen.filter(({ request }) => id !== undefined && idOf(request) === id);
    for (const { request } of found) this.#accounted.add(idOf(request));
    return found;
  }
}

/** Takes interim answers off, as far as the app gave them. */
function takeInterims(text: string, tries: readonly Seen[]): string {
  let rest = text;
  for (;;) {
    const taken = takeMessage(rest, "response");
    if (taken === undefined || !/^1(?!01)/.test(taken.line[1])) return rest;
    const isApps = tries.some((seen) =>
      seen.said.includes(` ${taken.line[1]} ${taken.line[2]}\r\n`),
    );
    insist(isApps, "an interim answer of nobody's", taken);
    checkHop(taken);
    rest = taken.rest;
  }
}

function checkHop(taken: NaiveTaken): void {
  insist(taken.line[0] === "HTTP/1.1", "another's version", taken);
  const names = taken.fields.map(([name]) => name);
  const isLeft = ["keep-alive", "proxy-connection", "x-one"].some((name) => names.includes(name));
  insist(!isLeft, "a field of another hop", taken);
}

function takeOwn(text: string, method: string, code: unknown, tries: readonly Seen[]): string {
  const taken = takeMessage(takeInterims(text, tries), "response", method);
  insist(
    taken?.isWhole === true && Number(taken.line[1]) === code,
    "not the answer that was recorded",
    code,
    text,
  );
  return taken?.rest ?? "";
}

/** The answer to `seen` at the beginning of `text`, if it is that. */
function takeAnswer(
  text: string,
  seen: Seen,
  tries: readonly Seen[],
): { rest: string } | undefined {
  const [method = "", , version] = seen.request.line;
  const found = takeMessage(takeInterims(text, tries), "response", method);
  const said = finalOf(seen.said, method);
  if (found === undefined || said === undefined || !said.isWhole || version !== "HTTP/1.1")
    return undefined;
  const isSameHead =
    JSON.stringify([found.line[1], found.line[2], plain(found)]) ===
    JSON.stringify([said.line[1], said.line[2], plain(said)]);
  if (isSameHead && found.body === said.body && found.isWhole) return found;
  // To HTTP/1.0 the content goes without its chunks.
  const isOld =
    found.body === said.content &&
    plain(said).some((field) => field.startsWith("transfer-encoding="));
  const untransferred = plain(said).filter((field) => !field.startsWith("transfer-encoding="));
  return isOld && JSON.stringify(plain(found)) === JSON.stringify(untransferred)
    ? found
    : undefined;
}

function finalOf(said: string, method: string): NaiveTaken | undefined {
  let taken = takeMessage(said, "response", method);
  while (taken !== undefined && /^1(?!01)/.test(taken.line[1]))
    taken = takeMessage(taken.rest, "response", method);
  return taken;
}

const plain = ({ fields }: NaiveTaken): string[] => endToEnd(fields);

/** Part of an answer is out, and then the connection was cut. */
function checkCut(hop: Hop, text: string, tries: readonly Seen[]): void {
  insist(hop.wasCut, "an answer that is not whole was not cut", text);
  const rest = takeInterims(text, tries);
  const found = takeMessage(rest, "response", tries.at(-1)?.request.line[0]);
  if (found === undefined) return;
  const isPart = tries.some((seen) => {
    const said = finalOf(seen.said, seen.request.line[0]);
    return (
      said !== undefined &&
      (said.body.startsWith(found.body) || said.content.startsWith(found.body))
    );
  });
  insist(
    isPart,
    "what was cut is not the app's",
    found,
    tries.map((seen) => seen.said),
  );
}
