// What hosts ask over HTTPS: to join, once, with a token; and certificates, again and again, with the identity they got.
import { Hono } from "hono";
import * as z from "zod";
import type {
  CertificateRequest,
  CertificateResponse,
  JoinRequest,
  JoinResponse,
  LeaveResponse,
  SelfResponse,
} from "../../agent/api/session.ts";
import { hostIdentity, parseSpiffeId, SYSTEM_NAMESPACE } from "../../agent/api/spiffe.ts";
import type { Clock } from "../../agent/base/clock.ts";
import { err, ok, type Result } from "../../agent/base/result.ts";
import { BACKDATE_MS } from "../../agent/pki/x509.ts";
import type { IssueRefusal, Issuer } from "../ca/issuer.ts";
import { hashOfSecret } from "../ca/secrets.ts";
import type { Hub } from "../push/hub.ts";
import type { Mesh } from "../push/mesh.ts";
import type { HostRecord, Store, TokenRefusal } from "../store/store.ts";
import { BODY_BYTES_MAX, bounded, readBody, refuse } from "./answers.ts";
import type { Bindings, Peer } from "./peer.ts";

/** Identities of one host that are asked for at once. */
export const CSRS_PER_REQUEST_MAX = 64;

export interface AgentRoutesDeps {
  readonly store: Store;
  readonly mesh: Mesh;
  readonly hub: Hub;
  readonly issuer: Issuer;
  readonly clock: Clock;
  /** Of this server's program. */
  readonly version: string;
}

const joinBody: z.ZodType<JoinRequest> = z.object({
  secret: z.string().max(256),
  host: z.string().max(256),
  csr: z.string().max(16_384),
});
const certificateBody: z.ZodType<CertificateRequest> = z.object({
  csrs: z.array(z.string().max(16_384)).min(1).max(CSRS_PER_REQUEST_MAX),
});

export function agentRoutes(deps: AgentRoutesDeps) {
  const { store, mesh, hub, issuer, clock } = deps;
  return new Hono<{ Bindings: Bindings }>()
    .post("/v1/join", bounded(BODY_BYTES_MAX), async (c) => {
      const body = await readBody(c, joinBody);
      if (!body.ok) return body.error;
      const { host, secret, csr } = body.value;
      const use = {
        secretSha256: hashOfSecret(secret),
        host,
        atMs: clock.wallMs(),
        observedAddress: c.env.remoteAddress,
      };
      // A signature costs a thousand times what a look costs, and strangers may ask for it.
      const good = await store.checkToken(use);
      if (!good.ok) return refuse(c, 403, good.error, TOKEN_REFUSALS[good.error], NEW_TOKEN);
      // Before the token is used: a request that cannot be signed must not cost it.
      const issued = await issuer.issue(csr, { name: host, serviceAccounts: [] });
      if (!issued.ok) return refuse(c, 403, issued.error, CSR_REFUSALS[issued.error], RETRY_JOIN);
      const joined = await mesh.join(use); // which decides: others may have used it meanwhile
      if (!joined.ok) return refuse(c, 403, joined.error, TOKEN_REFUSALS[joined.error], NEW_TOKEN);
      hub.noteCertificate(host, issued.value.notAfterMs);
      return c.json({
        host: joined.value.name,
        trustDomain: issuer.trustDomain,
        certificates: issued.value.certificates,
        trustBundle: issuer.trustBundle,
      } satisfies JoinResponse);
    })
    .get("/v1/self", async (c) => {
      const host = await hostOf(c.env.peer, issuer.trustDomain, store);
      if (!host.ok) return refuse(c, 401, "not_a_host", host.error, NEW_TOKEN);
      const { name, serviceAccounts } = host.value;
      const { version: serverVersion } = deps;
      const wallMs = clock.wallMs();
      return c.json({ host: name, serviceAccounts, serverVersion, wallMs } satisfies SelfResponse);
    })
    .delete("/v1/self", async (c) => {
      const host = await hostOf(c.env.peer, issuer.trustDomain, store);
      if (!host.ok) return refuse(c, 401, "not_a_host", host.error);
      const { name } = host.value;
      const removed = await mesh.removeHost(name, `host/${name}`);
      if (removed.ok) return c.json({ host: name } satisfies LeaveResponse);
      return removed.error.code === "not_found"
        ? refuse(c, 401, "not_a_host", NOT_A_MEMBER)
        : refuse(c, 409, removed.error.code, "others change the mesh all the time: try again");
    })
    .post("/v1/certificates", bounded(BODY_BYTES_MAX), async (c) => {
      const host = await hostOf(c.env.peer, issuer.trustDomain, store);
      if (!host.ok) return refuse(c, 401, "not_a_host", host.error, NEW_TOKEN);
      const body = await readBody(c, certificateBody);
      if (!body.ok) return body.error;
      const own = hostIdentity(issuer.trustDomain, host.value.name);
      const issued: CertificateResponse["issued"][number][] = [];
      for (const [i, csr] of body.value.csrs.entries()) {
        const one = await issuer.issue(csr, host.value);
        if (!one.ok) {
          const reason = CSR_REFUSALS[one.error];
          const problems = [{ path: `csrs[${i}]`, reason, severity: "error" as const }];
          const next = `grant it: meshctl token create --host ${host.value.name} --service-account NAMESPACE/ACCOUNT, then join with it`;
          return refuse(c, 403, one.error, `csrs[${i}]: ${reason}`, { next, problems });
        }
        const { identity, certificates, notAfterMs } = one.value;
        if (identity === own) hub.noteCertificate(host.value.name, notAfterMs);
        issued.push({ identity, certificates });
      }
      return c.json({ issued, trustBundle: issuer.trustBundle } satisfies CertificateResponse);
    });
}

/** Between the clocks of several servers of one mesh. */
const SKEW_MAX_MS = 60_000;
const EARLIER_MEMBER = "the client certificate is of an earlier host of this name";
const NOT_A_MEMBER = "this host is not a member any more";
const HOST_ACCOUNT = "host.";

/** The host that a connection's certificate proves; workloads of the mesh and strangers are none. */
export async function hostOf(
  peer: Peer,
  trustDomain: string,
  store: Store,
): Promise<Result<HostRecord, string>> {
  if (peer.is === "none") return err("this needs the host's client certificate");
  if (peer.is === "refused") return err(`the client certificate is refused: ${peer.reason}`);
  const identity = parseSpiffeId(peer.identity);
  if (
    !identity.ok ||
    identity.value.trustDomain !== trustDomain ||
    identity.value.namespace !== SYSTEM_NAMESPACE ||
    !identity.value.serviceAccount.startsWith(HOST_ACCOUNT)
  ) {
    return err("the client certificate is not a host's of this mesh");
  }
  const host = await store.host(identity.value.serviceAccount.slice(HOST_ACCOUNT.length));
  if (host === undefined) return err(NOT_A_MEMBER);
  const issuedAtMs = peer.notBeforeMs + BACKDATE_MS;
  return issuedAtMs + SKEW_MAX_MS < (host.memberSinceMs ?? 0) ? err(EARLIER_MEMBER) : ok(host);
}

const NEW_TOKEN = { next: "ask an operator for a new token: meshctl token create --host HOST" };
const RETRY_JOIN = { next: "run `meshctl join TOKEN` again: the token was not used" };

const TOKEN_REFUSALS: Readonly<Record<TokenRefusal, string>> = {
  token_unknown: "this server never made this token, or forgot it long after it expired",
  token_used: "the token was used already: each joins one host once",
  token_expired: "the token expired before it was used",
  token_wrong_host: "the token is for another host",
};
const CSR_REFUSALS: Readonly<Record<IssueRefusal, string>> = {
  csr_too_large: "the certificate request is too large",
  csr_malformed: "the certificate request is not PKCS#10 in PEM",
  csr_bad_signature: "the certificate request does not prove its key",
  csr_wrong_key: "the certificate request's key is not ECDSA P-256",
  csr_not_spiffe: "the certificate request does not name exactly one SPIFFE ID",
  identity_not_granted: "the host's grant does not hold this identity",
};
