// The parts of a VirtualService's route, from the words people write to what the data path reads.
import type { HeaderOperationsSpec } from "../api/http-fields.ts";
import type { HttpMatchSpec, StringMatchSpec } from "../api/http-match.ts";
import type { HttpRouteSpec } from "../api/virtual-service.ts";
import { DEFAULT_RETRY, NO_HEADERS } from "./default-route.ts";
import { milliseconds } from "./destination-rules.ts";
import type {
  Fault,
  HeaderEdit,
  HeaderOps,
  HttpMatch,
  NamedMatch,
  RedirectAction,
  RetryCondition,
  RetryPolicy,
  Rewrite,
  StringMatch,
} from "./snapshot.ts";

/** Port and gateways are settled when the route is compiled for a port, so they are not carried on. */
export function compileMatch(spec: HttpMatchSpec): HttpMatch {
  const match: { -readonly [K in keyof HttpMatch]: HttpMatch[K] } = {};
  if (spec.uri !== undefined) match.uri = compileString(spec.uri);
  if (spec.uri !== undefined && spec.ignoreUriCase === true) match.ignoreUriCase = true;
  if (spec.scheme !== undefined) match.scheme = compileString(spec.scheme);
  if (spec.method !== undefined) match.method = compileString(spec.method);
  if (spec.authority !== undefined) match.authority = compileString(spec.authority);
  if (spec.headers !== undefined) match.headers = compileNamed(spec.headers, true);
  if (spec.withoutHeaders !== undefined)
    match.withoutHeaders = compileNamed(spec.withoutHeaders, true);
  if (spec.queryParams !== undefined) match.queryParams = compileNamed(spec.queryParams, false);
  if (spec.sourceLabels !== undefined) match.sourceLabels = spec.sourceLabels;
  if (spec.sourceNamespace) match.sourceNamespace = spec.sourceNamespace;
  return match;
}

function compileString(spec: StringMatchSpec): StringMatch {
  if (spec.exact !== undefined) return { is: "exact", value: spec.exact };
  if (spec.prefix !== undefined) return { is: "prefix", value: spec.prefix };
  if (spec.regex !== undefined) return { is: "regex", value: spec.regex };
  return { is: "present" };
}

const compileNamed = (
  specs: { readonly [name: string]: StringMatchSpec },
  isHeader: boolean,
): NamedMatch[] =>
  Object.entries(specs).map(([name, spec]) => ({
    name: isHeader ? name.toLowerCase() : name,
    match: compileString(spec),
  }));

export function compileHeaders(spec: HeaderOperationsSpec | undefined): HeaderOps {
  if (spec === undefined) return NO_HEADERS;
  return { request: compileEdit(spec.request), response: compileEdit(spec.response) };
}

function compileEdit(spec: HeaderOperationsSpec["request"]): HeaderEdit {
  if (spec === undefined) return NO_HEADERS.request;
  const lower = (fields: { readonly [name: string]: string } | undefined): [string, string][] =>
    Object.entries(fields ?? {}).map(([name, value]) => [name.toLowerCase(), value]);
  return {
    set: lower(spec.set),
    add: lower(spec.add),
    remove: (spec.remove ?? []).map((name) => name.toLowerCase()),
  };
}

/** Nothing said: Istio's default. `attempts: 0`: none. */
export function compileRetry(spec: HttpRouteSpec["retries"]): RetryPolicy | undefined {
  if (spec === undefined) return DEFAULT_RETRY;
  if (spec.attempts <= 0) return undefined;
  const words = (spec.retryOn ?? "").split(",").map((word) => word.trim());
  const named = words.filter((word) => word !== "" && !isStatus(word)) as RetryCondition[];
  const statusCodes = words.filter(isStatus).map(Number);
  if (statusCodes.length > 0 && !named.includes("retriable-status-codes"))
    named.push("retriable-status-codes");
  return {
    attempts: spec.attempts,
    perTryTimeoutMs: milliseconds(spec.perTryTimeout, undefined),
    on: spec.retryOn === undefined || spec.retryOn === "" ? DEFAULT_RETRY.on : named,
    statusCodes,
    backoffBaseMs: milliseconds(spec.backoff, DEFAULT_RETRY.backoffBaseMs),
  };
}

const isStatus = (word: string): boolean => /^[0-9]{3}$/.test(word);

export function compileRewrite(spec: HttpRouteSpec["rewrite"]): Rewrite | undefined {
  if (spec === undefined) return undefined;
  return {
    uri: spec.uri,
    authority: spec.authority,
    uriRegex: spec.uriRegexRewrite,
  };
}

export function compileFault(spec: HttpRouteSpec["fault"]): Fault | undefined {
  if (spec === undefined) return undefined;
  const { delay, abort } = spec;
  return {
    delay: delay && {
      ms: milliseconds(delay.fixedDelay, 0),
      percent: delay.percentage?.value ?? 0,
    },
    abort: abort && { status: abort.httpStatus, percent: abort.percentage?.value ?? 0 },
  };
}

const DERIVED = {
  FROM_PROTOCOL_DEFAULT: "from_protocol_default",
  FROM_REQUEST_PORT: "from_request_port",
} as const;

export const compileRedirect = (spec: NonNullable<HttpRouteSpec["redirect"]>): RedirectAction => ({
  is: "redirect",
  status: spec.redirectCode ?? 301,
  uri: spec.uri,
  authority: spec.authority,
  scheme: spec.scheme,
  port: spec.port ?? (spec.derivePort === undefined ? undefined : DERIVED[spec.derivePort]),
});
