// Step 1: every host became a member by its token alone, and nobody becomes more than his token says.
import { parseJoinToken, writeJoinToken } from "../../../agent/api/join-token.ts";
import { hostIdentity, parseSpiffeId } from "../../../agent/api/spiffe.ts";
import { agentCertificates, agentSnapshot, agentStatus, stateOf, tryToJoin } from "../agents.ts";
import { grantOf } from "../demo.ts";
import { type DemoHost, HOSTS, hostNamed, namespaceOf, UID } from "../layout.ts";
import type { ClaimResult } from "../parts/claim.ts";
import { partCommand } from "../programs.ts";
import { type CheckContext, holds, type Step } from "./step.ts";

export const membership: Step = {
  number: 1,
  claim: "five agents joined by token, run the same version, and false claims are refused",
  async run(context) {
    const version = await allRunTheSame();
    let certificates = 0;
    for (const host of HOSTS) certificates += await hasItsCertificates(host);
    const refusals = [
      await usedTokenIsRefused(context),
      await wrongAuthorityIsRefused(context),
      await foreignIdentityIsRefused(context),
    ];
    return `${HOSTS.length} agents at version ${version}, ${certificates} certificates; refused: ${refusals.join(", ")}`;
  },
};

async function allRunTheSame(): Promise<number> {
  const all = await Promise.all(HOSTS.map(agentStatus));
  const versions = all.map((one) => one?.version);
  const [first] = versions;
  holds(
    first !== undefined && versions.every((one) => one === first),
    () => `the agents run versions ${versions.map((one) => one ?? "none").join(", ")}`,
  );
  const away = HOSTS.filter((_, i) => all[i]?.server.isConnected !== true);
  holds(away.length === 0, () => `not connected: ${away.map(({ name }) => name).join(", ")}`);
  return first ?? 0;
}

/** The host's own and one for each service account it was granted and uses. Returns how many. */
async function hasItsCertificates(host: DemoHost): Promise<number> {
  const certificates = await agentCertificates(host);
  const trustDomain = (await agentSnapshot(host))?.trustDomain ?? "";
  const nowMs = Date.now();
  const valid = certificates.filter((one) => one.issuedAtMs <= nowMs && nowMs < one.notAfterMs);
  const expected = [
    hostIdentity(trustDomain, host.name),
    ...grantOf(host).map((grant) => {
      const [namespace, account] = grant.split("/");
      return `spiffe://${trustDomain}/ns/${namespace}/sa/${account}`;
    }),
  ];
  for (const identity of expected)
    holds(
      valid.some((one) => one.identity === identity),
      () => `${host.name} has no valid certificate for ${identity}`,
    );
  const foreign = valid.filter((one) => !expected.includes(one.identity));
  holds(foreign.length === 0, () => `${host.name} also holds ${foreign[0]?.identity}`);
  return valid.length;
}

async function usedTokenIsRefused({ demo, say }: CheckContext): Promise<string> {
  say("a token used twice");
  const host = hostNamed("web");
  const again = await tryToJoin(demo.lab, host, demo.tokens.get(host.name) ?? "", "again");
  const said = again.stderr + again.stdout;
  holds(again.code !== 0 && /used/.test(said), () => `a used token was taken: ${said}`);
  return "a used token";
}

async function wrongAuthorityIsRefused({ demo, say }: CheckContext): Promise<string> {
  say("a token that pins another authority");
  const host = hostNamed("web");
  const parsed = parseJoinToken(await demo.operator.createToken(host.name, grantOf(host)));
  if (!parsed.ok) throw new Error(`a fresh token does not parse: ${parsed.error}`);
  const caSha256 = "0".repeat(64);
  const token = writeJoinToken({ ...parsed.value, caSha256 });
  const joined = await tryToJoin(demo.lab, host, token, "other-ca");
  const said = joined.stderr + joined.stdout;
  holds(joined.code !== 0, () => "a token with a wrong CA hash was taken");
  holds(/CA|certificate|authority/i.test(said), () => `it was refused for another reason: ${said}`);
  return "a wrong CA hash";
}

/** Host stock, with its own key and certificate, asks to be productpage. */
async function foreignIdentityIsRefused({ demo, say }: CheckContext): Promise<string> {
  say("a certificate for somebody else");
  const host = hostNamed("stock");
  const trustDomain = (await agentSnapshot(host))?.trustDomain ?? "";
  const identity = `spiffe://${trustDomain}/ns/default/sa/productpage`;
  holds(parseSpiffeId(identity).ok, () => `${identity} is no SPIFFE ID`);
  const command = partCommand(demo.lab, "claim", { stateDir: stateOf(host), identity });
  const { code, stdout, stderr } = await demo.lab.run(namespaceOf(host), command, {
    uid: UID.agent,
  });
  holds(code === 0, () => `asking for a certificate failed: ${stderr}`);
  const result = JSON.parse(stdout) as ClaimResult;
  holds(
    result.status === 403 && result.code === "identity_not_granted",
    () => `a CSR for ${identity} was answered ${result.status} ${result.code}`,
  );
  return "a CSR outside the grant";
}
