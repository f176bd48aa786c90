// Whether a manifest may be believed: signed by the config server's own identity, under the trust domain's roots, for this host.
import type { Manifest, SignedManifest } from "../api/session.ts";
import { serverIdentity } from "../api/spiffe.ts";
import { err, ok, type Result } from "../base/result.ts";
import { isSignedBy } from "../pki/signature.ts";
import type { TrustRoots } from "../pki/trust-bundle.ts";
import { verifyChain } from "../pki/verify-chain.ts";

/** As many as a server sends to one host. */
export const MANIFEST_UNITS_MAX = 25_000;
const HASH = /^[0-9a-f]{64}$/;

/** Err says which rule did not hold. Time is an argument: what lies on disk was checked when it came. */
export async function verifyManifest(
  signed: SignedManifest,
  host: string,
  trust: TrustRoots,
  nowMs: number,
): Promise<Result<Manifest, string>> {
  const chain = await verifyChain(signed.certificates, trust, nowMs);
  if (!chain.ok) return err(`the manifest's signer is not believed: ${chain.error}`);
  if (chain.value !== serverIdentity(trust.trustDomain))
    return err(`the manifest is signed by ${chain.value}, which is no config server`);
  const [leaf = ""] = signed.certificates;
  if (!(await isSignedBy(leaf, signed.payload, signed.signature)))
    return err("the manifest's signature does not hold");
  const manifest = parseManifest(signed.payload);
  if (manifest === undefined) return err("the manifest is not of a form this agent knows");
  if (manifest.host !== host) return err(`the manifest is made for another host, ${manifest.host}`);
  return ok(manifest);
}

export function parseManifest(payload: string): Manifest | undefined {
  let value: unknown;
  try {
    value = JSON.parse(payload);
  } catch {
    return undefined; // Not JSON.
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { epoch, version, host, units, issuedAtMs } = value as { [name: string]: unknown };
  if (!isCount(epoch) || !isCount(version) || !isCount(issuedAtMs)) return undefined;
  if (typeof host !== "string" || !isHashes(units)) return undefined;
  return { epoch, version, host, units, issuedAtMs };
}

const isCount = (value: unknown): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

const isHashes = (value: unknown): value is readonly string[] =>
  Array.isArray(value) &&
  value.length <= MANIFEST_UNITS_MAX &&
  value.every((hash) => typeof hash === "string" && HASH.test(hash));
