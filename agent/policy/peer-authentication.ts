// Which PeerAuthentication holds where: a workload's own, else its namespace's, else the root namespace's; PERMISSIVE if none.
// https://istio.io/latest/docs/reference/config/security/peer_authentication/
import type { PeerAuthenticationSpec } from "../api/security.ts";
import { labelsHold } from "./labels.ts";
import type { InboundPort, Labels } from "./snapshot.ts";
import type { ProblemList, Rule } from "./sources.ts";

export type MtlsMode = InboundPort["mtls"];
type Policy = Rule<PeerAuthenticationSpec>;

export interface MtlsSource {
  /** `NAMESPACE/NAME` */
  readonly policy: string;
  /** The field in it. */
  readonly path: string;
  /** It has a selector, and so holds for single workloads. */
  readonly selects: boolean;
}
export interface Holding {
  readonly mode: MtlsMode;
  readonly by: MtlsSource;
}

export class PeerAuthentications {
  #mesh: Policy | undefined;
  readonly #namespaces = new Map<string, Policy>();
  readonly #workloads = new Map<string, Policy[]>();

  constructor(policies: readonly Policy[], rootNamespace: string, problems: ProblemList) {
    for (const policy of policies) {
      if (isForWorkloads(policy)) this.#addForWorkloads(policy, rootNamespace, problems);
      else if (policy.namespace === rootNamespace) {
        this.#tellIfSecond(this.#mesh, policy, problems);
        this.#mesh ??= policy;
      } else {
        const first = this.#namespaces.get(policy.namespace);
        this.#tellIfSecond(first, policy, problems);
        if (first === undefined) this.#namespaces.set(policy.namespace, policy);
      }
    }
  }

  /** `port` is the one the app listens on. */
  modeOf(namespace: string, labels: Labels, port: number): MtlsMode {
    return this.holding(namespace, labels, port)?.mode ?? "permissive";
  }

  /** The mode with the resource and the field that say it; undefined: nobody says anything. */
  holding(namespace: string, labels: Labels, port: number): Holding | undefined {
    const policy = this.#workloads
      .get(namespace)
      ?.find(({ spec }) => labelsHold(spec.selector?.matchLabels ?? {}, labels));
    return (
      (policy && (ofPort(policy, port) ?? own(policy))) ??
      own(this.#namespaces.get(namespace)) ??
      own(this.#mesh)
    );
  }

  #addForWorkloads(policy: Policy, rootNamespace: string, problems: ProblemList): void {
    if (policy.namespace === rootNamespace) {
      // Istio's rule too: the root namespace's selectors reach no other namespace, and are not looked at in its own.
      problems.warn(
        policy.title,
        "spec.selector",
        "holds for nobody: in the root namespace a PeerAuthentication must have no selector",
      );
      return;
    }
    const there = this.#workloads.get(policy.namespace);
    if (there === undefined) this.#workloads.set(policy.namespace, [policy]);
    else there.push(policy);
  }

  #tellIfSecond(first: Policy | undefined, policy: Policy, problems: ProblemList): void {
    if (first !== undefined)
      problems.warn(policy.title, "spec", `is ignored: ${first.title} holds here, first by name`);
  }
}

type Mtls = PeerAuthenticationSpec["mtls"];

/** Undefined: UNSET, the wider policy decides. */
function modeOf(mtls: Mtls): MtlsMode | undefined {
  switch (mtls?.mode) {
    case "STRICT":
      return "strict";
    case "PERMISSIVE":
      return "permissive";
    case "DISABLE":
      return "disable";
    default:
      return undefined;
  }
}

const isForWorkloads = ({ spec }: Policy): boolean =>
  Object.keys(spec.selector?.matchLabels ?? {}).length > 0;

function own(policy: Policy | undefined): Holding | undefined {
  const mode = modeOf(policy?.spec.mtls);
  if (policy === undefined || mode === undefined) return undefined;
  const by = { policy: nameOf(policy), path: "spec.mtls.mode", selects: isForWorkloads(policy) };
  return { mode, by };
}

function ofPort(policy: Policy, port: number): Holding | undefined {
  const mode = modeOf(policy.spec.portLevelMtls?.[String(port)]);
  if (mode === undefined) return undefined;
  const path = `spec.portLevelMtls["${port}"].mode`;
  return { mode, by: { policy: nameOf(policy), path, selects: true } };
}

const nameOf = ({ namespace, name }: Policy): string => `${namespace}/${name}`;
