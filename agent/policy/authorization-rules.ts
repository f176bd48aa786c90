// What AuthorizationPolicy resources compile to, for one local port: part of the snapshot. Data only.

/** DENY is looked at first, then ALLOW; no ALLOW policy at all: allowed (Istio's order). */
export interface Authorization {
  readonly deny: readonly AuthorizationRules[];
  readonly allow: readonly AuthorizationRules[];
}

export interface AuthorizationRules {
  /** `NAMESPACE/NAME`, shown to who is refused. */
  readonly policy: string;
  /** Any of these; an ALLOW policy with none admits nobody. */
  readonly rules: readonly AuthorizationRule[];
}

/** `from`, `to` and `when` must each hold; within `from` and `to`, any of the list. Empty: holds. */
export interface AuthorizationRule {
  readonly from: readonly SourceMatch[];
  readonly to: readonly OperationMatch[];
  readonly when: readonly ConditionMatch[];
}

/** Exact, `prefix*`, `*suffix` or `*`, as Istio writes them. Within a list: any. All lists that are given must hold. */
export type Patterns = readonly string[];

export interface SourceMatch {
  /** `TRUST_DOMAIN/ns/NAMESPACE/sa/ACCOUNT`, without `spiffe://`. */
  readonly principals?: Patterns | undefined;
  readonly notPrincipals?: Patterns | undefined;
  readonly namespaces?: Patterns | undefined;
  readonly notNamespaces?: Patterns | undefined;
  readonly ipBlocks?: readonly string[] | undefined;
  readonly notIpBlocks?: readonly string[] | undefined;
}
export interface OperationMatch {
  readonly hosts?: Patterns | undefined;
  readonly notHosts?: Patterns | undefined;
  readonly ports?: readonly number[] | undefined;
  readonly notPorts?: readonly number[] | undefined;
  readonly methods?: Patterns | undefined;
  readonly notMethods?: Patterns | undefined;
  readonly paths?: Patterns | undefined;
  readonly notPaths?: Patterns | undefined;
}
export interface ConditionMatch {
  readonly key:
    | { readonly is: "header"; readonly name: string }
    | { readonly is: "source.ip" }
    | { readonly is: "source.namespace" }
    | { readonly is: "source.principal" }
    | { readonly is: "destination.port" }
    | { readonly is: "connection.sni" };
  readonly values?: Patterns | undefined;
  readonly notValues?: Patterns | undefined;
}
