// Why something was refused, or would be: what agents and the config server answer, and `meshctl explain` shows.
// Types and bounds only, so that nobody loads more for them.

/** Patterns of a list that are shown; what is left out is counted. */
export const SHOWN_PATTERNS_MAX = 4;
/** Of the sources (or operations) of one rule that fails in all of them, so many are shown. */
export const SHOWN_ALTERNATIVES_MAX = 4;
/** Rules that are shown in all, the matching ones first. */
export const SHOWN_RULES_MAX = 256;
export const SHOWN_POLICIES_MAX = 64;
/** Of a pattern, and of a value that was asked. */
export const SHOWN_CHARS_MAX = 256;
/** Edits of one explanation; what would take more is not offered. */
export const CHANGES_MAX = 64;

/** Asked of what would happen, by names a person has at hand. */
export interface ExplainQuestion {
  /** Workload, `NAMESPACE/NAME`, service, SPIFFE ID, host, or `plaintext`: a caller that proves nothing. */
  readonly from: string;
  /** Service, workload, `NAMESPACE/NAME` or SPIFFE ID. */
  readonly to: string;
  /** A service's port, or the one an app listens on. Default: the only one, or the only one that speaks HTTP. */
  readonly port?: number | undefined;
  /** Undefined where the port speaks TCP, and otherwise GET. */
  readonly method?: string | undefined;
  readonly path?: string | undefined;
  /** Host field of the request. Default: the service's name. */
  readonly host?: string | undefined;
  readonly headers?: readonly (readonly [name: string, value: string])[] | undefined;
  /** Where the caller's connection comes from. Default: its host's address. */
  readonly address?: string | undefined;
  /** That the client asks for by TLS, where the app terminates it. */
  readonly serverName?: string | undefined;
  /** As an opaque connection, where the port could be either. */
  readonly isTcp?: boolean | undefined;
}

export interface ExplainAnswer {
  readonly epoch: number;
  readonly version: number;
  /** One a workload: a service may be backed by several, each with policies of its own. */
  readonly results: readonly ExplainResult[];
  readonly notes: readonly string[];
}
export interface ExplainResult {
  /** Where the workload runs. */
  readonly hosts: readonly string[];
  readonly explanation: Explanation;
}

/** Why a question has no answer, for who asked it. */
export interface ExplainRefusal {
  readonly code:
    | "unknown_name"
    | "ambiguous_name"
    | "no_such_port"
    | "not_here"
    | "invalid_question";
  readonly message: string;
  readonly next: string;
}

export interface Explanation {
  readonly verdict: "allowed" | "denied";
  /** What decided, in one sentence. */
  readonly reason: string;
  readonly asked: AskedView;
  /** Everything that was asked, in the order in which it is. */
  readonly steps: readonly ExplainStep[];
  /** What would admit it: all of these together. Empty when it is allowed, and when no edit of ours would do. */
  readonly admit: readonly PolicyChange[];
  readonly notes: readonly string[];
}

export interface AskedView {
  readonly from: {
    /** SPIFFE ID; absent: in plaintext, nothing is proven. */
    readonly identity?: string | undefined;
    readonly address?: string | undefined;
  };
  readonly to: {
    /** `NAMESPACE/NAME` of the workload. */
    readonly workload: string;
    readonly identity?: string | undefined;
    /** The port its app listens on. */
    readonly port: number;
    /** Canonical host of the service that was meant. */
    readonly service?: string | undefined;
    /** That a ClientHello asks for; absent: none, or nobody listened. */
    readonly serverName?: string | undefined;
  };
  /** Absent: an opaque connection. */
  readonly request?:
    | { readonly method: string; readonly path: string; readonly host: string }
    | undefined;
}

export interface ExplainStep {
  readonly kind: "PeerAuthentication" | "AuthorizationPolicy" | "RateLimit";
  /** `NAMESPACE/NAME`; undefined: the default, nobody wrote one. */
  readonly name?: string | undefined;
  /** STRICT, PERMISSIVE, DISABLE; DENY, ALLOW; or the limit's rate. */
  readonly says: string;
  /** `no_match`: it has nothing to say. `counts`: a limit that counts the request; whether there is room changes all the time.
   *  `unknown`: it asks for something that is not known. */
  readonly outcome: "passes" | "allows" | "refuses" | "no_match" | "counts" | "unknown";
  readonly rules: readonly RuleTrace[];
  /** Rules that are not shown. */
  readonly rulesOmitted: number;
}

export interface RuleTrace {
  /** In its resource: `spec.rules[0]`. */
  readonly path: string;
  readonly outcome: "match" | "no_match" | "unknown";
  /** What failed first: one clause, or the first of each alternative (sources, operations). Empty: it matched. */
  readonly clauses: readonly ClauseMiss[];
}

export interface ClauseMiss {
  /** Relative to its rule: `from[0].source.principals`. */
  readonly path: string;
  readonly has: readonly string[];
  readonly omitted: number;
  /** What was asked, or in words why there is nothing: `no identity`, `absent`, `not kept`. */
  readonly asked: string;
}

/** One edit of a resource. */
export interface PolicyChange {
  readonly kind: "AuthorizationPolicy" | "PeerAuthentication" | "RateLimit";
  /** `NAMESPACE/NAME` */
  readonly name: string;
  /** `add`: `value` is one more element of the list at `path` (made if it is not there). `set`: it becomes `value`. `create`: `value`
   *  is a whole new resource. */
  readonly edit: "add" | "set" | "create";
  readonly path: string;
  readonly value: unknown;
  /** Who or what else is admitted by it; absent: nothing but what was asked. */
  readonly widens?: string | undefined;
}
