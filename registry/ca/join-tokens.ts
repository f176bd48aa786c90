// Join tokens: what an operator lets one host be. The text goes to the host, the record to the store, the secret to nobody else.

import { isIP } from "node:net";
import {
  isGrantableAccount,
  isHostName,
  TOKEN_ACCOUNTS_MAX,
  TOKEN_ADDRESSES_MAX,
  writeJoinToken,
} from "../../agent/api/join-token.ts";
import { SYSTEM_NAMESPACE } from "../../agent/api/spiffe.ts";
import { err, ok, type Problem, type Result } from "../../agent/base/result.ts";
import { hashOfSecret, makeSecret } from "./secrets.ts";

export const TOKEN_TTL_DEFAULT_MS = 3_600_000;
export const TOKEN_TTL_MIN_MS = 1_000;
export const TOKEN_TTL_MAX_MS = 7 * 86_400_000;

export interface JoinGrant {
  readonly host: string;
  /** `NAMESPACE/ACCOUNT` */
  readonly serviceAccounts: readonly string[];
  /** Where the host is reached; empty: wherever its agent connects from. */
  readonly addresses: readonly string[];
  readonly ttlMs: number;
}

export interface JoinTokenRecord {
  readonly secretSha256: string;
  readonly host: string;
  readonly serviceAccounts: readonly string[];
  readonly addresses: readonly string[];
  readonly createdBy: string;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
}

export interface MadeToken {
  /** `im1....`: shown once. */
  readonly text: string;
  readonly record: JoinTokenRecord;
}

export function makeJoinToken(
  grant: JoinGrant,
  from: {
    readonly servers: readonly string[];
    readonly caSha256: string;
    readonly who: string;
    readonly nowMs: number;
  },
): Result<MadeToken, readonly Problem[]> {
  const problems = problemsOfGrant(grant);
  if (problems.length > 0) return err(problems);
  const { host, serviceAccounts, addresses } = grant;
  const secret = makeSecret();
  const expiresAtMs = from.nowMs + grant.ttlMs;
  const { servers, caSha256 } = from;
  return ok({
    text: writeJoinToken({ servers, caSha256, host, serviceAccounts, expiresAtMs, secret }),
    record: {
      secretSha256: hashOfSecret(secret),
      host,
      serviceAccounts,
      addresses,
      createdBy: from.who,
      createdAtMs: from.nowMs,
      expiresAtMs,
    },
  });
}

function problemsOfGrant({ host, serviceAccounts, addresses, ttlMs }: JoinGrant): Problem[] {
  const problems: Problem[] = [];
  const report = (path: string, reason: string) =>
    problems.push({ path, reason, severity: "error" });
  if (!isHostName(host)) report("host", "must be a name of lower-case DNS labels, such as `vm-1`");
  if (serviceAccounts.length > TOKEN_ACCOUNTS_MAX) {
    report("serviceAccounts", `has more than ${TOKEN_ACCOUNTS_MAX} items`);
  }
  for (const [i, account] of serviceAccounts.entries()) {
    if (account.startsWith(`${SYSTEM_NAMESPACE}/`)) {
      report(`serviceAccounts[${i}]`, `must not be in ${SYSTEM_NAMESPACE}: it is the mesh's own`);
    } else if (!isGrantableAccount(account)) {
      report(`serviceAccounts[${i}]`, "must be NAMESPACE/ACCOUNT, such as `default/reviews`");
    }
  }
  if (addresses.length > TOKEN_ADDRESSES_MAX) {
    report("addresses", `has more than ${TOKEN_ADDRESSES_MAX} items`);
  }
  for (const [i, address] of addresses.entries()) {
    if (isIP(address) === 0) report(`addresses[${i}]`, "must be an IP address");
  }
  if (!Number.isInteger(ttlMs) || ttlMs < TOKEN_TTL_MIN_MS || ttlMs > TOKEN_TTL_MAX_MS) {
    report("ttlMs", `must be from ${TOKEN_TTL_MIN_MS} to ${TOKEN_TTL_MAX_MS} milliseconds`);
  }
  return problems;
}
