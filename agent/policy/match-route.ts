// Which route takes a request or a connection: Istio's VirtualService match semantics, first match wins.
// https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPMatchRequest
import { RE2JS } from "re2js";
import { unreachable } from "../base/assert.ts";
import { type AddressBlocks, addressBlocks } from "./address-block.ts";
import { wildcardHolds } from "./hosts.ts";
import type { RequestView } from "./request-view.ts";
import type {
  Destination,
  HttpMatch,
  HttpRoute,
  NamedMatch,
  ServicePort,
  StringMatch,
  TcpMatch,
  TcpRoute,
} from "./snapshot.ts";
import type { Tables } from "./tables.ts";

/** Undefined: a VirtualService left a gap (404, NR). `workload` is an index into Snapshot.workloads; undefined: a process of none. */
export function routeHttp(
  tables: Tables,
  workload: number | undefined,
  servicePort: ServicePort,
  request: RequestView,
): HttpRoute | undefined {
  const routes = tables.httpRoutesFor(workload, servicePort);
  for (const route of routes) {
    if (route.matches.length === 0) return route;
    for (const match of route.matches) if (matchesHttp(match, request)) return route;
  }
  return undefined;
}

/** `address` is where the connection was going. Undefined: none matched; compile() ends every list with a route that does. */
export function routeTcp(
  tables: Tables,
  workload: number | undefined,
  servicePort: ServicePort,
  address: string,
): TcpRoute | undefined {
  for (const route of tables.tcpRoutesFor(workload, servicePort)) {
    if (route.matches.length === 0) return route;
    for (const match of route.matches) if (matchesTcp(match, address)) return route;
  }
  return undefined;
}

/** By the name in a ClientHello, lower case; undefined: it has none. Undefined: no route is for it. Only where tlsRoutesFor() gives any. */
export function routeTls(
  routes: readonly TcpRoute[],
  serverName: string | undefined,
  address: string,
): TcpRoute | undefined {
  for (const route of routes)
    for (const match of route.matches)
      if (isNamed(match, serverName) && matchesTcp(match, address)) return route;
  return undefined;
}

const isNamed = ({ serverNames = [] }: TcpMatch, name: string | undefined): boolean =>
  serverNames.some(
    (pattern) =>
      pattern === "*" || (name !== undefined && (pattern === name || wildcardHolds(pattern, name))),
  );

/** By weight; `unit` is uniform in [0, 1). Undefined only for no destinations at all. */
export function pickDestination(
  destinations: readonly Destination[],
  unit: number,
): Destination | undefined {
  if (destinations.length <= 1) return destinations[0];
  let total = 0;
  for (const { weight } of destinations) total += weight;
  let left = unit * total;
  for (const destination of destinations) {
    left -= destination.weight;
    if (left < 0) return destination;
  }
  return destinations[0];
}

/** Port, source labels and source namespace are not looked at: compile() and Tables have already chosen by them. */
export function matchesHttp(match: HttpMatch, request: RequestView): boolean {
  return (
    matchesText(match.method, request.method) &&
    matchesUri(match, request.path) &&
    matchesHeaders(match, request) &&
    matchesText(match.authority, request.authority) &&
    matchesText(match.scheme, request.scheme) &&
    (match.queryParams === undefined || matchesQuery(match.queryParams, request.path))
  );
}

const matchesText = (match: StringMatch | undefined, value: string): boolean =>
  match === undefined || matchesString(match, value);

export function matchesString(match: StringMatch, value: string | undefined): boolean {
  if (value === undefined) return false;
  switch (match.is) {
    case "exact":
      return value === match.value;
    case "prefix":
      return value.startsWith(match.value);
    case "regex":
      return regexOf(match)?.matches(value) ?? false;
    case "present":
      return true;
    default:
      return unreachable(match);
  }
}

function matchesUri({ uri, ignoreUriCase }: HttpMatch, path: string): boolean {
  if (uri === undefined) return true;
  const query = path.indexOf("?");
  const bare = query < 0 ? path : path.slice(0, query);
  if (ignoreUriCase !== true || uri.is === "regex" || uri.is === "present")
    return matchesString(uri, bare);
  const wanted = uri.value.toLowerCase();
  const given = bare.toLowerCase();
  return uri.is === "exact" ? given === wanted : given.startsWith(wanted);
}

function matchesHeaders(match: HttpMatch, request: RequestView): boolean {
  if (match.headers !== undefined)
    for (const header of match.headers)
      if (!matchesString(header.match, request.header(header.name))) return false;
  if (match.withoutHeaders !== undefined)
    for (const header of match.withoutHeaders)
      if (matchesString(header.match, request.header(header.name))) return false;
  return true;
}

function matchesQuery(wanted: readonly NamedMatch[], path: string): boolean {
  const query = queryOf(path);
  return wanted.every(({ name, match }) => matchesString(match, queryValue(query, name)));
}

function queryOf(path: string): string {
  const at = path.indexOf("?");
  return at < 0 ? "" : path.slice(at + 1);
}

/** Undefined: the path has no parameter of that name. */
export const queryValueOf = (path: string, name: string): string | undefined =>
  queryValue(queryOf(path), name);

/** First value of that name, as sent: Envoy does not percent-decode either. */
function queryValue(query: string, name: string): string | undefined {
  for (const pair of query.split("&")) {
    const equals = pair.indexOf("=");
    if ((equals < 0 ? pair : pair.slice(0, equals)) !== name || pair === "") continue;
    return equals < 0 ? "" : pair.slice(equals + 1);
  }
  return undefined;
}

/** Keyed by the match itself, so that what a snapshot compiled goes when the snapshot goes. */
const regexes = new WeakMap<StringMatch, RE2JS | "invalid">();

function regexOf(match: StringMatch & { is: "regex" }): RE2JS | undefined {
  let known = regexes.get(match);
  if (known === undefined) {
    known = compileRegex(match.value) ?? "invalid";
    regexes.set(match, known);
  }
  return known === "invalid" ? undefined : known;
}

/** Undefined: not RE2. The parser refuses such a resource; a snapshot from elsewhere must not stop traffic, so it never matches. */
function compileRegex(pattern: string): RE2JS | undefined {
  try {
    return RE2JS.compile(pattern);
  } catch {
    return undefined;
  }
}

const subnets = new WeakMap<readonly string[], AddressBlocks>();

function matchesTcp({ destinationCidrs }: TcpMatch, address: string): boolean {
  if (destinationCidrs === undefined) return true;
  let blocks = subnets.get(destinationCidrs);
  if (blocks === undefined) {
    blocks = addressBlocks(destinationCidrs);
    subnets.set(destinationCidrs, blocks);
  }
  return blocks.has(address);
}
