// Whose token a secret is. Tokens are 256 random bits and kept as hashes: there is nothing to guess, and nothing to slow down.
import { areEqualHashes, hashOfSecret } from "../ca/secrets.ts";
import type { OperatorRecord, Store } from "../store/store.ts";

/** Undefined: nobody's. */
export async function operatorOf(
  store: Store,
  secret: string | undefined,
): Promise<OperatorRecord | undefined> {
  const hash = hashOfSecret(secret ?? "");
  const operators = await store.operators();
  const [operator] = operators.filter(({ secretSha256 }) => areEqualHashes(secretSha256, hash));
  return secret === undefined || secret === "" ? undefined : operator;
}
