// AuthorizationPolicy at run time, to Istio's semantics: DENY first, then ALLOW; no ALLOW policy at all admits everybody.
// https://istio.io/latest/docs/reference/config/security/authorization-policy/ and, for opaque TCP,
// https://istio.io/latest/docs/tasks/security/authorization/authz-tcp/

import type { Authorization, AuthorizationRules, OperationMatch } from "./authorization-rules.ts";
import { type Action, type Asked, isAnyOperation, type ReachedPort, ruleMiss } from "./clauses.ts";
import type { Caller, RequestView } from "./request-view.ts";

export type Verdict =
  /** `policy`: the ALLOW policy that admitted; undefined when none applies to the workload. */
  | { readonly allowed: true; readonly policy?: string }
  /** `policy`: the DENY policy that matched, or the ALLOW policies that did not admit, joined by ", ". */
  | { readonly allowed: false; readonly policy: string; readonly reason: string };

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
  serverName?: string,
): Verdict {
  if (isOpen(authorization)) return OPEN;
  return decide(authorization, { caller, destination, request: undefined, serverName });
}

/** Some rule hangs on the ClientHello: a connection that has none that can be read must not pass for one that names nobody. */
export const asksServerName = ({ deny, allow }: Authorization): boolean =>
  [...deny, ...allow].some(({ rules }) =>
    rules.some(({ when }) => when.some(({ key }) => key.is === "connection.sni")),
  );

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

function holds({ rules }: AuthorizationRules, asked: Asked, action: Action): boolean {
  for (const rule of rules) if (ruleMiss(rule, asked, action) === undefined) return true;
  return false;
}

/** For limits: whether the request is one of these operations. Undefined: a datagram, of which only ports are known. */
export const isOneOf = (
  operations: readonly OperationMatch[],
  caller: Caller,
  destination: ReachedPort,
  request: RequestView | undefined,
): boolean =>
  operations.length === 0 || isAnyOperation(operations, { caller, destination, request });
