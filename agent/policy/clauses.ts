// One clause of an AuthorizationPolicy against what is asked: which one fails first, or none. Enforcement (authorize.ts) asks only
// whether one does, explanations (explain.ts) which: so what is explained is what is enforced. Nothing is allocated for the answer.
// https://istio.io/latest/docs/reference/config/security/authorization-policy/
import { unreachable } from "../base/assert.ts";
import { type AddressBlocks, addressBlocks } from "./address-block.ts";
import type {
  AuthorizationRule,
  ConditionMatch,
  OperationMatch,
  Patterns,
  SourceMatch,
} from "./authorization-rules.ts";
import type { Caller, RequestView } from "./request-view.ts";

/** What the caller reached: the app's port, and the address the connection arrived at. */
export interface ReachedPort {
  readonly port: number;
  readonly address: string;
}

export interface Asked {
  readonly caller: Caller;
  readonly destination: ReachedPort;
  /** Undefined: an opaque connection. */
  readonly request: RequestView | undefined;
  /** Of the ClientHello that the app is to answer; undefined: it names none, or there is none. */
  readonly serverName?: string | undefined;
}

export type Action = "allow" | "deny";
export type SourceClause = keyof SourceMatch;
export type OperationClause = keyof OperationMatch;
export type ConditionClause = "values" | "notValues";
/** `http`: an ALLOW rule that asks about HTTP, and an opaque connection. */
export type RulePart = "http" | "from" | "to" | "when";

/** The part of the rule that fails first; undefined: it holds. */
export function ruleMiss(
  rule: AuthorizationRule,
  asked: Asked,
  action: Action,
): RulePart | undefined {
  const { from, to, when } = rule;
  if (action === "allow" && asked.request === undefined && asksHttp(rule)) return "http";
  if (from.length > 0 && !isAnySource(from, asked.caller)) return "from";
  if (to.length > 0 && !isAnyOperation(to, asked)) return "to";
  for (const condition of when) if (conditionMiss(condition, asked) !== undefined) return "when";
  return undefined;
}

/** Istio drops a whole ALLOW rule for TCP as soon as any part of it is about HTTP. */
const asksHttp = ({ to, when }: AuthorizationRule): boolean =>
  to.some((o) => o.hosts ?? o.notHosts ?? o.methods ?? o.notMethods ?? o.paths ?? o.notPaths) ||
  when.some(({ key }) => key.is === "header");

function isAnySource(from: readonly SourceMatch[], caller: Caller): boolean {
  for (const source of from) if (sourceMiss(source, caller) === undefined) return true;
  return false;
}

export function isAnyOperation(to: readonly OperationMatch[], asked: Asked): boolean {
  for (const operation of to) if (operationMiss(operation, asked) === undefined) return true;
  return false;
}

export function sourceMiss(
  source: SourceMatch,
  { identity, address }: Caller,
): SourceClause | undefined {
  const { principals, notPrincipals, namespaces, notNamespaces, ipBlocks, notIpBlocks } = source;
  if (principals !== undefined || notPrincipals !== undefined) {
    const principal = principalOf(identity);
    if (!isAnyOf(principals, principal)) return "principals";
    if (isOneOfThese(notPrincipals, principal)) return "notPrincipals";
  }
  if (namespaces !== undefined || notNamespaces !== undefined) {
    const namespace = namespaceOf(identity);
    if (!isAnyOf(namespaces, namespace)) return "namespaces";
    if (isOneOfThese(notNamespaces, namespace)) return "notNamespaces";
  }
  if (isOutside(ipBlocks, address)) return "ipBlocks";
  return isInside(notIpBlocks, address) ? "notIpBlocks" : undefined;
}

/** Of an opaque connection only ports are looked at. */
export function operationMiss(
  operation: OperationMatch,
  { destination, request }: Asked,
): OperationClause | undefined {
  const { ports, notPorts, methods, notMethods, paths, notPaths } = operation;
  if (ports !== undefined && !ports.includes(destination.port)) return "ports";
  if (notPorts?.includes(destination.port)) return "notPorts";
  if (request === undefined) return undefined;
  if (!isAnyOf(methods, request.method)) return "methods";
  if (isOneOfThese(notMethods, request.method)) return "notMethods";
  if (paths !== undefined || notPaths !== undefined) {
    const path = barePath(request.path);
    if (!isAnyOf(paths, path)) return "paths";
    if (isOneOfThese(notPaths, path)) return "notPaths";
  }
  return hostMiss(operation, request);
}

/** Hosts are compared without regard to case (RFC 9110 4.2.3), with their port if they were sent with one. */
function hostMiss(
  { hosts, notHosts }: OperationMatch,
  request: RequestView,
): "hosts" | "notHosts" | undefined {
  if (hosts === undefined && notHosts === undefined) return undefined;
  const host = request.authority.toLowerCase();
  const matches = (pattern: string): boolean => matchesPattern(pattern.toLowerCase(), host);
  if (hosts !== undefined && !hosts.some(matches)) return "hosts";
  return notHosts?.some(matches) ? "notHosts" : undefined;
}

export function conditionMiss(
  { key, values, notValues }: ConditionMatch,
  { caller, destination, request, serverName }: Asked,
): ConditionClause | undefined {
  switch (key.is) {
    case "header":
      return request === undefined
        ? undefined
        : valueMiss(values, notValues, request.header(key.name));
    case "source.ip":
      if (isOutside(values, caller.address)) return "values";
      return isInside(notValues, caller.address) ? "notValues" : undefined;
    case "source.namespace":
      return valueMiss(values, notValues, namespaceOf(caller.identity));
    case "source.principal":
      return valueMiss(values, notValues, principalOf(caller.identity));
    case "destination.port":
      return valueMiss(values, notValues, String(destination.port));
    case "connection.sni":
      return valueMiss(values, notValues, serverName);
    default:
      return unreachable(key);
  }
}

function valueMiss(
  values: Patterns | undefined,
  notValues: Patterns | undefined,
  value: string | undefined,
): ConditionClause | undefined {
  if (!isAnyOf(values, value)) return "values";
  return isOneOfThese(notValues, value) ? "notValues" : undefined;
}

/** No list: anything is. What is not there matches no pattern, `*` included. */
const isAnyOf = (wanted: Patterns | undefined, value: string | undefined): boolean =>
  wanted === undefined || (value !== undefined && matchesAny(wanted, value));

const isOneOfThese = (unwanted: Patterns | undefined, value: string | undefined): boolean =>
  unwanted !== undefined && value !== undefined && matchesAny(unwanted, value);

function matchesAny(patterns: Patterns, value: string): boolean {
  for (const pattern of patterns) if (matchesPattern(pattern, value)) return true;
  return false;
}

/** Exact, `prefix*`, `*suffix`, or `*`: anything that is not empty. */
export function matchesPattern(pattern: string, value: string): boolean {
  if (pattern === "*") return value !== "";
  if (pattern.endsWith("*")) return value.startsWith(pattern.slice(0, -1));
  if (pattern.startsWith("*")) return value.endsWith(pattern.slice(1));
  return pattern === value;
}

export function barePath(path: string): string {
  const query = path.indexOf("?");
  return query < 0 ? path : path.slice(0, query);
}

const SCHEME = "spiffe://";
/** As policies write identities. */
export const principalOf = (identity: string | undefined): string | undefined =>
  identity?.startsWith(SCHEME) ? identity.slice(SCHEME.length) : identity;

/** From `…/ns/NAMESPACE/sa/ACCOUNT`; other identities are in no namespace. */
export function namespaceOf(identity: string | undefined): string | undefined {
  if (identity === undefined) return undefined;
  const start = identity.indexOf("/ns/");
  const end = identity.indexOf("/sa/", start + 4);
  return start < 0 || end < 0 ? undefined : identity.slice(start + 4, end);
}

const isOutside = (blocks: Patterns | undefined, address: string): boolean =>
  blocks !== undefined && !blocksOf(blocks).has(address);
const isInside = (blocks: Patterns | undefined, address: string): boolean =>
  blocks !== undefined && blocksOf(blocks).has(address);

/** Keyed by the list itself, which lives as long as its snapshot. */
const parsedBlocks = new WeakMap<readonly string[], AddressBlocks>();

function blocksOf(texts: readonly string[]): AddressBlocks {
  let blocks = parsedBlocks.get(texts);
  if (blocks === undefined) {
    blocks = addressBlocks(texts);
    parsedBlocks.set(texts, blocks);
  }
  return blocks;
}
