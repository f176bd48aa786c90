// Whom this host believes, and its own certificates and keys.
import { agentOf, type Facts } from "../facts.ts";
import { type Finding, tellerOf } from "../finding.ts";
import type { FileMode, HeldCertificate, HostFiles } from "../reading/state.ts";

const { ok, warning, error, unseen } = tellerOf("trust");

const OTHERS = 0o077;
const ROOT_WARN_MS = 90 * 86_400_000;
/** Renewed from half of their life on: with less left than this share of it something keeps them from it. */
const LATE_SHARE = 0.3;
const JOIN = "meshctl join TOKEN # with a new one: meshctl token create --host HOST";

export function checkTrust(facts: Facts): readonly Finding[] {
  const { files, nowMs } = facts;
  if (files === undefined) return [ok("member", "this host has not joined: it holds no keys yet")];
  if (!files.ok) return [unseen("files", "keys and trust", files.error)];
  return [
    ...permissions(files.value),
    ...files.value.damaged.map((path) =>
      error("damaged", `${path} is not what this program writes`, JOIN),
    ),
    ...roots(files.value, nowMs),
    ...files.value.certificates.map((one) => judge(one, nowMs)),
    ...missing(facts, files.value),
  ];
}

function permissions({ directory, files }: HostFiles): readonly Finding[] {
  const isOpen = ({ mode }: FileMode): boolean => (mode & OTHERS) !== 0;
  const open = [directory, ...files].filter(isOpen);
  const owned = files.filter(({ uid }) => uid !== directory.uid);
  const findings = [
    ...open.map(({ path, mode }) =>
      error(
        "mode",
        `others than the owner may use ${path} (mode ${mode.toString(8)})`,
        `chmod ${path === directory.path ? 700 : 600} ${path}`,
      ),
    ),
    ...owned.map(({ path, uid }) =>
      error(
        "owner",
        `${path} belongs to uid ${uid}, the state directory to uid ${directory.uid}: the agent cannot use it`,
        `chown -h ${directory.uid} ${path}`,
      ),
    ),
  ];
  return findings.length > 0
    ? findings
    : [ok("modes", `${files.length} files under ${directory.path} are their owner's alone`)];
}

function roots({ roots: all, trustDomain }: HostFiles, nowMs: number): readonly Finding[] {
  if (all.length === 0)
    return [error("roots", "this host believes no root: it trusts nobody", JOIN)];
  return all.map(({ sha256, notAfterMs }) => {
    const text = `root of ${trustDomain}, SHA-256 ${sha256}`;
    const until = date(notAfterMs);
    if (notAfterMs < nowMs) return error("roots", `the ${text} expired on ${until}`, JOIN);
    if (notAfterMs - nowMs < ROOT_WARN_MS)
      return warning(
        "roots",
        `the ${text} ends on ${until}`,
        "plan a new CA before that day: every host then joins again",
      );
    return ok("roots", `${text}, until ${until}`);
  });
}

const date = (ms: number): string => new Date(ms).toISOString().slice(0, 16).replace("T", " ");

function judge(
  { identity, notBeforeMs, notAfterMs, flaw }: HeldCertificate,
  nowMs: number,
): Finding {
  if (flaw !== undefined)
    return error(
      "certificate",
      `${identity}: ${flaw}`,
      "meshctl renew # or join again with a new token",
    );
  if (nowMs < notBeforeMs)
    return error(
      "certificate",
      `${identity} is valid only from ${date(notBeforeMs)} on`,
      "set this host's clock",
    );
  const left = notAfterMs - nowMs;
  if (left <= 0)
    return error(
      "certificate",
      `${identity} expired on ${date(notAfterMs)}: peers refuse it`,
      `meshctl renew # the host's own, over for good: ${JOIN}`,
    );
  if (left < (notAfterMs - notBeforeMs) * LATE_SHARE)
    return warning(
      "certificate",
      `${identity} should have been renewed by now, and ends on ${date(notAfterMs)}`,
      "meshctl renew; the agent's log says why it could not be",
    );
  return ok("certificate", `${identity}, until ${date(notAfterMs)}`);
}

function missing(facts: Facts, { certificates }: HostFiles): readonly Finding[] {
  const held = new Set(certificates.map(({ identity }) => identity));
  const lacking = (agentOf(facts)?.snapshot?.workloads ?? []).filter(
    ({ identity }) => !held.has(identity),
  );
  return lacking.map(({ identity, namespace, serviceAccount }) =>
    error(
      "missing",
      `there is no certificate for ${identity}: its workload takes part in nothing`,
      `meshctl token create --host ${filesHost(facts)} --service-account ${namespace}/${serviceAccount} # then join with it`,
    ),
  );
}

const filesHost = ({ files }: Facts): string => (files?.ok === true ? files.value.host : "HOST");
