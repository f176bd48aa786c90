// SPIFFE IDs (SPIFFE-ID.md 2): the only names that identity has in the mesh.
import { err, ok, type Result } from "../base/result.ts";

/** `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT` */
export interface MeshIdentity {
  readonly trustDomain: string;
  readonly namespace: string;
  readonly serviceAccount: string;
}

/** Namespace of the mesh's own identities; no grant and no Workload may name it. */
export const SYSTEM_NAMESPACE = "ironmesh-system";

export const spiffeIdOf = (id: MeshIdentity): string =>
  `spiffe://${id.trustDomain}/ns/${id.namespace}/sa/${id.serviceAccount}`;
export const hostIdentity = (trustDomain: string, host: string): string =>
  spiffeIdOf({ trustDomain, namespace: SYSTEM_NAMESPACE, serviceAccount: `host.${host}` });
export const serverIdentity = (trustDomain: string): string =>
  spiffeIdOf({ trustDomain, namespace: SYSTEM_NAMESPACE, serviceAccount: "config-server" });

const TRUST_DOMAIN = /^[a-z0-9._-]{1,255}$/;
const SEGMENT = /^[a-zA-Z0-9._-]{1,253}$/;

/** Refuses everything but our own form: other paths are valid SPIFFE IDs but nobody in this mesh. */
export function parseSpiffeId(text: string): Result<MeshIdentity, string> {
  if (text.length > 2048 || !text.startsWith("spiffe://")) return err("not a SPIFFE ID");
  const [trustDomain = "", ns, namespace = "", sa, serviceAccount = "", ...rest] = text
    .slice(9)
    .split("/");
  if (!TRUST_DOMAIN.test(trustDomain))
    return err("trust domain has characters that SPIFFE does not allow");
  if (ns !== "ns" || sa !== "sa" || rest.length > 0)
    return err("path is not /ns/NAMESPACE/sa/ACCOUNT");
  for (const segment of [namespace, serviceAccount]) {
    if (!SEGMENT.test(segment) || segment === "." || segment === "..")
      return err("empty or invalid path segment");
  }
  return ok({ trustDomain, namespace, serviceAccount });
}
