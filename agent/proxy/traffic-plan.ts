// What a route means for the bytes of a request, worked out once per route and source identity: fields to leave out and to append,
// in their final form; clusters instead of numbers.
import { bytesOf } from "../base/bytes.ts";
import type { Random } from "../base/clock.ts";
import type {
  Destination,
  Fault,
  ForwardAction,
  HeaderEdit,
  HeaderField,
  HeaderOps,
  HttpMatch,
  HttpRoute,
  RetryPolicy,
  Rewrite,
} from "../policy/snapshot.ts";
import type { Failure } from "./failure.ts";
import type { Target, UpstreamCluster } from "./upstream-cluster.ts";

/** Fields of one direction: names that go, and whole lines that come. */
export interface FieldPlan {
  readonly drops: readonly string[];
  readonly tail: Uint8Array;
}

/** Answered here, without an upstream. */
export interface LocalAnswer {
  readonly is: "answer";
  readonly status: number;
  readonly flag: string;
  readonly details: string;
  readonly body: string;
  readonly fields: readonly HeaderField[];
  /** Id of the decision that refused (observe/decision-book.ts); absent: it is no refusal. */
  readonly decision?: string | undefined;
}

export interface ForwardPlan {
  readonly is: "forward";
  /** Route name, for the access log. */
  readonly name: string;
  /** Undefined: it does not exist (503, NC). */
  readonly cluster: UpstreamCluster | undefined;
  /** Always this endpoint; undefined: as the balancer says. */
  readonly pinned: Target | undefined;
  readonly request: FieldPlan;
  readonly response: FieldPlan;
  readonly timeoutMs: number | undefined;
  readonly retry: RetryPolicy | undefined;
  readonly rewrite: Rewrite | undefined;
  /** The route's. */
  readonly matches: readonly HttpMatch[];
  readonly fault: Fault | undefined;
}

const NO_FIELDS: FieldPlan = { drops: [], tail: new Uint8Array(0) };

/** Everything as it comes, to one cluster. */
export const plainPlan = (
  name: string,
  cluster: UpstreamCluster | undefined,
  options: { pinned?: Target | undefined } = {},
): ForwardPlan => ({
  is: "forward",
  name,
  cluster,
  pinned: options.pinned,
  request: NO_FIELDS,
  response: NO_FIELDS,
  timeoutMs: undefined,
  retry: undefined,
  rewrite: undefined,
  matches: [],
  fault: undefined,
});

export function forwardPlan(
  route: HttpRoute,
  action: ForwardAction,
  destination: Destination,
  cluster: UpstreamCluster | undefined,
): ForwardPlan {
  return {
    is: "forward",
    name: route.name,
    cluster,
    pinned: undefined,
    request: fieldPlan(destination.headers, route.headers, "request"),
    response: fieldPlan(destination.headers, route.headers, "response"),
    timeoutMs: action.timeoutMs,
    retry: action.retry,
    rewrite: action.rewrite,
    matches: route.matches,
    fault: action.fault,
  };
}

export const answerOf = (failure: Failure, fields: readonly HeaderField[] = []): LocalAnswer => ({
  is: "answer",
  status: failure.status,
  flag: failure.flag,
  details: failure.details,
  body: failure.body,
  fields,
});

/** For how long the route's fault holds this request up; 0: not at all. */
export function delayOf({ fault }: ForwardPlan, random: Random): number {
  const delay = fault?.delay;
  if (delay === undefined) return 0;
  return random.unit() * 100 < delay.percent ? delay.ms : 0;
}

/** A value that ended its line would begin a field of its own. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control bytes are what this is about
const CONTROL = /[\u0000-\u0008\u000a-\u001f\u007f]/g;

function fieldPlan(first: HeaderOps, second: HeaderOps, side: "request" | "response"): FieldPlan {
  const edits = [first[side], second[side]];
  if (edits.every(isEmpty)) return NO_FIELDS;
  const drops = edits.flatMap((edit) => [...edit.remove, ...edit.set.map(([name]) => name)]);
  const lines = edits.flatMap((edit) => [...edit.set, ...edit.add]);
  const text = lines
    .map(([name, value]) => `${name.toLowerCase()}: ${value.replace(CONTROL, " ")}\r\n`)
    .join("");
  return { drops: drops.map((name) => name.toLowerCase()), tail: bytesOf(text) };
}

const isEmpty = (edit: HeaderEdit): boolean =>
  edit.set.length === 0 && edit.add.length === 0 && edit.remove.length === 0;
