// AuthorizationPolicy at run time, to Istio's semantics: DENY first, then ALLOW; no ALLOW policy at all admits everybody.
// https://istio.io/latest/docs/reference/config/security/authorization-policy/ and, for opaque TCP,
// https://istio.io/latest/docs/tasks/security/authorization/authz-tcp/
import { unreachable } from "../base/assert.ts";
import { type AddressBlocks, addressBlocks } from "./address-block.ts";
import type {
  Authorization,
  AuthorizationRule,
  AuthorizationRules,
  Caller,
  ConditionMatch,
  OperationMatch,
  Patterns,
  RequestView,
  SourceMatch,
} from "./snapshot.ts";

export type Verdict =
  /** `policy`: the ALLOW policy that admitted; undefined when none applies to the workload. */
  | { readonly allowed: true; readonly policy?: string }
  /** `policy`: the DENY policy that matched, or the ALLOW policies that did not admit, joined by ", ". */
  | { readonly allowed: false; readonly policy: string; readonly reason: string };

/** What the caller reached: the app's port, and the address the connection arrived at. */
export interface ReachedPort {
  readonly port: number;
  readonly address: string;
}

const OPEN: Verdict = { allowed: true };

/** No policy applies: everything is allowed, nothing needs to be asked. */
export const isOpen = (authorization: Authorization): boolean =>
  authorization.deny.length === 0 && authorization.allow.length === 0;

export function authorizeRequest(
  authorization: Authorization,
  caller: Caller,
  destination: ReachedPort,
  request: RequestView,
): Verdict {
  return isOpen(authorization) ? OPEN : decide(authorization, { caller, destination, request });
}

/** For opaque TCP: an ALLOW rule that asks about HTTP never matches; a DENY rule is matched without its HTTP parts, and so
 *  denies more. Both fail closed. */
export function authorizeConnection(
  authorization: Authorization,
  caller: Caller,
  destination: ReachedPort,
): Verdict {
  if (isOpen(authorization)) return OPEN;
  return decide(authorization, { caller, destination, request: undefined });
}

interface Asked {
  readonly caller: Caller;
  readonly destination: ReachedPort;
  readonly request: RequestView | undefined;
}

function decide({ deny, allow }: Authorization, asked: Asked): Verdict {
  for (const policy of deny)
    if (holds(policy, asked, "deny"))
      return { allowed: false, policy: policy.policy, reason: `denied by ${policy.policy}` };
  if (allow.length === 0) return OPEN;
  for (const policy of allow)
    if (holds(policy, asked, "allow")) return { allowed: true, policy: policy.policy };
  const names = allow.map((policy) => policy.policy).join(", ");
  return { allowed: false, policy: names, reason: `not allowed by ${names}` };
}

type Action = "allow" | "deny";

function holds({ rules }: AuthorizationRules, asked: Asked, action: Action): boolean {
  for (const rule of rules) {
    if (action === "allow" && asked.request === undefined && asksHttp(rule)) continue;
    if (ruleHolds(rule, asked)) return true;
  }
  return false;
}

/** Istio drops a whole ALLOW rule for TCP as soon as any part of it is about HTTP. */
const asksHttp = ({ to, when }: AuthorizationRule): boolean =>
  to.some((o) => o.hosts ?? o.notHosts ?? o.methods ?? o.notMethods ?? o.paths ?? o.notPaths) ||
  when.some(({ key }) => key.is === "header");

const ruleHolds = ({ from, to, when }: AuthorizationRule, asked: Asked): boolean =>
  (from.length === 0 || from.some((source) => sourceHolds(source, asked.caller))) &&
  (to.length === 0 || to.some((operation) => operationHolds(operation, asked))) &&
  when.every((condition) => conditionHolds(condition, asked));

/** For limits: whether the request is one of these operations. */
export const isOneOf = (
  operations: readonly OperationMatch[],
  caller: Caller,
  destination: ReachedPort,
  request: RequestView,
): boolean =>
  operations.length === 0 ||
  operations.some((operation) => operationHolds(operation, { caller, destination, request }));

function sourceHolds(source: SourceMatch, { identity, address }: Caller): boolean {
  const principal = principalOf(identity);
  const namespace = namespaceOf(identity);
  return (
    between(source.principals, source.notPrincipals, principal) &&
    between(source.namespaces, source.notNamespaces, namespace) &&
    (source.ipBlocks === undefined || blocksOf(source.ipBlocks).has(address)) &&
    (source.notIpBlocks === undefined || !blocksOf(source.notIpBlocks).has(address))
  );
}

function operationHolds(operation: OperationMatch, { destination, request }: Asked): boolean {
  const { ports, notPorts } = operation;
  if (ports !== undefined && !ports.includes(destination.port)) return false;
  if (notPorts?.includes(destination.port)) return false;
  if (request === undefined) return true;
  return (
    between(operation.methods, operation.notMethods, request.method) &&
    (operation.paths === undefined && operation.notPaths === undefined
      ? true
      : between(operation.paths, operation.notPaths, barePath(request.path))) &&
    hostsHold(operation, request)
  );
}

/** Hosts are compared without regard to case (RFC 9110 4.2.3), with their port if they were sent with one. */
function hostsHold({ hosts, notHosts }: OperationMatch, request: RequestView): boolean {
  if (hosts === undefined && notHosts === undefined) return true;
  const host = request.authority.toLowerCase();
  const matches = (pattern: string): boolean => matchesPattern(pattern.toLowerCase(), host);
  return (hosts === undefined || hosts.some(matches)) && !notHosts?.some(matches);
}

function conditionHolds({ key, values, notValues }: ConditionMatch, asked: Asked): boolean {
  const { caller, destination, request } = asked;
  switch (key.is) {
    case "header":
      return request === undefined || between(values, notValues, request.header(key.name));
    case "source.ip":
      return (
        (values === undefined || blocksOf(values).has(caller.address)) &&
        (notValues === undefined || !blocksOf(notValues).has(caller.address))
      );
    case "source.namespace":
      return between(values, notValues, namespaceOf(caller.identity));
    case "source.principal":
      return between(values, notValues, principalOf(caller.identity));
    case "destination.port":
      return between(values, notValues, String(destination.port));
    default:
      return unreachable(key);
  }
}

/** Any of the one, none of the other. What is not there matches no pattern, `*` included. */
function between(
  wanted: Patterns | undefined,
  unwanted: Patterns | undefined,
  value: string | undefined,
): boolean {
  if (wanted !== undefined && (value === undefined || !matchesAny(wanted, value))) return false;
  return unwanted === undefined || value === undefined || !matchesAny(unwanted, value);
}

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

function barePath(path: string): string {
  const query = path.indexOf("?");
  return query < 0 ? path : path.slice(0, query);
}

const SCHEME = "spiffe://";
const principalOf = (identity: string | undefined): string | undefined =>
  identity?.startsWith(SCHEME) ? identity.slice(SCHEME.length) : identity;

/** From `…/ns/NAMESPACE/sa/ACCOUNT`; other identities are in no namespace. */
function namespaceOf(identity: string | undefined): string | undefined {
  if (identity === undefined) return undefined;
  const start = identity.indexOf("/ns/");
  const end = identity.indexOf("/sa/", start + 4);
  return start < 0 || end < 0 ? undefined : identity.slice(start + 4, end);
}

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
