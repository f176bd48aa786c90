// The redirect on this host: applied whole, compared, removed whole. Nothing here decides what it should be: plan.ts does.
import { err, ok, type Result } from "../../base/result.ts";
import type { AddressPort } from "./input.ts";
import { restoreSets } from "./ipset.ts";
import { endpointElement, iptablesText, setName } from "./iptables.ts";
import { applyIptables, iptablesDifferences, removeIptables } from "./iptables-kernel.ts";
import { NFT_TABLE, nftElement, nftSet, nftText } from "./nft.ts";
import { applyNft, nftDifferences, removeNft } from "./nft-kernel.ts";
import type { RedirectPlan } from "./plan.ts";
import { failure } from "./refusal.ts";
import { kernelRoutes, leadRoutes, plannedRoutes } from "./routes.ts";
import type { Runner } from "./runner.ts";

/** What is applied already, whoever asks: root and the agent's user may use different programs. Otherwise iptables where the
 *  host has it (with ipset) and this user may use it, since that is what its people look at; else nft. */
export async function chooseBackend(
  runner: Runner,
): Promise<Result<RedirectPlan["backend"], string>> {
  const ours = ["nft", "list", "table", ...NFT_TABLE.split(" ")];
  if ((await runner.run(ours)).code === 0) return ok("nft");
  const iptables = await firstFailure([["iptables-save"], ["ipset", "list", "-n"]], runner);
  if (iptables === undefined) return ok("iptables");
  const nft = await firstFailure([["nft", "list", "tables"]], runner);
  if (nft === undefined) return ok("nft");
  return err(
    isNotHere(iptables) && isNotHere(nft)
      ? "the redirect needs iptables and ipset, or nft, and this host has neither: install them (Debian: apt-get install iptables ipset)"
      : isNotHere(iptables)
        ? nft
        : iptables,
  );
}

async function firstFailure(
  commands: readonly (readonly string[])[],
  runner: Runner,
): Promise<string | undefined> {
  for (const argv of commands) {
    const ran = await runner.run(argv);
    if (ran.code !== 0) return failure(argv, ran);
  }
  return undefined;
}

/** `changed` is false when the host already was as planned. After an error the host is as it was before. */
export async function applyRedirect(
  plan: RedirectPlan,
  runner: Runner,
): Promise<Result<{ changed: boolean }, string>> {
  const cookies = await runner.run(["cat", "/proc/sys/net/ipv4/tcp_syncookies"]);
  // A cookie belongs to no socket, so the guard could not tell our listeners' answers from a stranger's.
  if (cookies.stdout.trim() === "2") {
    return err(
      "this host answers every connection by a SYN cookie, which hides whose answer it is: set net.ipv4.tcp_syncookies to 1 (sysctl -w) and apply again",
    );
  }
  const routesBefore = await kernelRoutes(runner);
  if (!routesBefore.ok) return routesBefore;
  // Routes first: a virtual IP that has a rule but no route is refused by the kernel, one with a route only by its port.
  const routes = await leadRoutes(plannedRoutes(plan), runner);
  const rules = routes.ok ? await applyRules(plan, runner) : routes;
  if (routes.ok && rules.ok) return ok({ changed: routes.value || rules.value });
  const error = `${rules.ok ? "" : rules.error}${sliceHint(plan)}`;
  const back = await leadRoutes(routesBefore.value, runner);
  return err(
    back.ok ? error : `${error}; and the routes before it could not be restored: ${back.error}`,
  );
}

async function applyRules(plan: RedirectPlan, runner: Runner): Promise<Result<boolean, string>> {
  const isNft = plan.backend === "nft";
  const rules = isNft ? await applyNft(plan, runner) : await applyIptables(plan, runner);
  if (!rules.ok || !rules.value) return rules;
  // The host may have changed from one program to the other: what the other one holds of ours would redirect twice.
  const other = isNft ? await removeIptables(runner) : await removeNft(runner);
  if (other.ok || isNotHere(other.error)) return rules;
  const back = isNft ? await removeNft(runner) : await removeIptables(runner);
  return back.ok ? other : err(`${other.error}; ${back.error}`);
}

const isNotHere = (error: string): boolean => error.includes("which is not here");

/** The kernel says no more than "invalid argument" when a rule names a cgroup that does not exist. */
function sliceHint(plan: RedirectPlan): string {
  const slices = plan.chains
    .flatMap((chain) => chain.rules.flatMap((rule) => rule.matches))
    .flatMap((match) =>
      match.is === "owner" && match.owner.is === "slice" ? [match.owner.slice] : [],
    );
  return slices.length === 0
    ? ""
    : `; a rule cannot wait for a slice that is not there: check that ${slices.join(", ")} runs (systemctl start), or pin the workload by its user`;
}

/** Takes away everything of ours, by whichever program it was put there. */
export async function removeRedirect(runner: Runner): Promise<Result<void, string>> {
  const problems: string[] = [];
  const iptables = await removeIptables(runner);
  if (!iptables.ok && !isNotHere(iptables.error)) problems.push(iptables.error);
  const nft = await removeNft(runner);
  if (!nft.ok && !isNotHere(nft.error)) problems.push(nft.error);
  const routes = await leadRoutes([], runner);
  if (!routes.ok) problems.push(routes.error);
  return problems.length === 0 ? ok(undefined) : err(problems.join("; "));
}

/** What the host lacks or has too much of, one sentence each; none: it is as planned. */
export async function redirectStatus(
  plan: RedirectPlan,
  runner: Runner,
): Promise<Result<string[], string>> {
  const rules =
    plan.backend === "nft"
      ? await nftDifferences(plan, runner)
      : await iptablesDifferences(plan, runner);
  if (!rules.ok) return rules;
  const routes = await kernelRoutes(runner);
  if (!routes.ok) return routes;
  const planned = plannedRoutes(plan);
  return ok([
    ...rules.value,
    ...planned.filter((line) => !routes.value.includes(line)).map((line) => `${line} is missing`),
    ...routes.value
      .filter((line) => !planned.includes(line))
      .map((line) => `${line} is not planned`),
  ]);
}

/** The plan as text, for `meshctl redirect plan`. */
export function describePlan(plan: RedirectPlan): string {
  const routes = plannedRoutes(plan).map((line) => `# ${line}`);
  return `${plan.backend === "nft" ? nftText(plan) : iptablesText(plan)}\n${routes.join("\n")}\n`;
}

/** Endpoints that came and went, one kernel element each; rules and other elements are not touched. */
export async function updateEndpoints(
  backend: RedirectPlan["backend"],
  changes: { readonly add: readonly AddressPort[]; readonly remove: readonly AddressPort[] },
  runner: Runner,
): Promise<Result<void, string>> {
  if (changes.add.length + changes.remove.length === 0) return ok(undefined);
  if (backend === "iptables") {
    const line = (verb: string, endpoint: AddressPort): string =>
      `${verb} ${setName("endpoints", endpoint[0].includes(":") ? "ip6" : "ip")} ${endpointElement(endpoint)}`;
    const done = await restoreSets(
      [...changes.add.map((e) => line("add", e)), ...changes.remove.map((e) => line("del", e))],
      runner,
    );
    return done.ok ? ok(undefined) : done;
  }
  const line = (verb: string, [address, port, protocol = "tcp"]: AddressPort): string =>
    `${verb} element ${NFT_TABLE} ${nftSet("endpoints", address.includes(":") ? "ip6" : "ip")} { ${nftElement(address, protocol, port)} }`;
  // nft refuses to delete what is not there, so it is added first.
  const text = [
    ...changes.add.map((e) => line("add", e)),
    ...changes.remove.flatMap((e) => [line("add", e), line("delete", e)]),
  ];
  const argv = ["nft", "-f", "-"];
  const ran = await runner.run(argv, `${text.join("\n")}\n`);
  return ran.code === 0 ? ok(undefined) : err(failure(argv, ran));
}
