// Which PeerAuthentication holds where: a workload's own, else its namespace's, else the root namespace's; PERMISSIVE if none.
// https://istio.io/latest/docs/reference/config/security/peer_authentication/
import type { PeerAuthenticationSpec } from "../api/security.ts";
import { labelsHold } from "./labels.ts";
import type { InboundPort, Labels } from "./snapshot.ts";
import type { ProblemList, Rule } from "./sources.ts";

export type MtlsMode = InboundPort["mtls"];
type Policy = Rule<PeerAuthenticationSpec>;

export class PeerAuthentications {
  #mesh: Policy | undefined;
  readonly #namespaces = new Map<string, Policy>();
  readonly #workloads = new Map<string, Policy[]>();

  constructor(policies: readonly Policy[], rootNamespace: string, problems: ProblemList) {
    for (const policy of policies) {
      const isWide = Object.keys(policy.spec.selector?.matchLabels ?? {}).length === 0;
      if (!isWide) this.#addForWorkloads(policy, rootNamespace, problems);
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
    const wide = own(this.#namespaces.get(namespace)) ?? own(this.#mesh) ?? "permissive";
    const policy = this.#workloads
      .get(namespace)
      ?.find(({ spec }) => labelsHold(spec.selector?.matchLabels ?? {}, labels));
    if (policy === undefined) return wide;
    return modeOf(policy.spec.portLevelMtls?.[String(port)]) ?? own(policy) ?? wide;
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

const own = (policy: Policy | undefined): MtlsMode | undefined => modeOf(policy?.spec.mtls);
