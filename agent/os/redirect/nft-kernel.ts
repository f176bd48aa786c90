// nft: the plan made so in one transaction, taken away, compared by the stamps its rules carry.
import { isIpv6Text } from "../../base/ip-text.ts";
import { err, ok, type Result } from "../../base/result.ts";
import { NFT_TABLE, nftChains, nftElement, nftSet, nftText } from "./nft.ts";
import type { RedirectPlan } from "./plan.ts";
import { failure } from "./refusal.ts";
import type { Runner } from "./runner.ts";
import { readStamp } from "./stamp.ts";

interface Concat {
  readonly concat: readonly (string | number)[];
}
interface Listing {
  readonly nftables: readonly {
    readonly chain?: { readonly name: string };
    readonly rule?: { readonly chain: string; readonly comment?: string };
    readonly set?: {
      readonly name: string;
      readonly elem?: readonly (Concat | { readonly elem: { readonly val: Concat } })[];
    };
  }[];
}

interface TableView {
  /** Stamps of each chain's rules, in order. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
  /** `ADDRESS . PROTOCOL . PORT` by set. */
  readonly sets: ReadonlyMap<string, ReadonlySet<string>>;
}

/** nft lists a protocol by its number where the host has no /etc/protocols (IANA's numbers, RFC 5237). */
const PROTOCOLS: Readonly<Record<string, string>> = { 6: "tcp", 17: "udp" };
const protocolName = (part: string | number, at: number): string =>
  at === 1 ? (PROTOCOLS[part] ?? `${part}`) : `${part}`;

/** undefined: there is no such table. */
async function readTable(runner: Runner): Promise<Result<TableView | undefined, string>> {
  const argv = ["nft", "-j", "list", "table", ...NFT_TABLE.split(" ")];
  const ran = await runner.run(argv);
  if (ran.code !== 0)
    return /No such file or directory/.test(ran.stderr) ? ok(undefined) : err(failure(argv, ran));
  const chains = new Map<string, string[]>();
  const sets = new Map<string, Set<string>>();
  for (const { chain, rule, set } of (JSON.parse(ran.stdout) as Listing).nftables) {
    if (chain !== undefined) chains.set(chain.name, []);
    if (rule !== undefined) chains.get(rule.chain)?.push(readStamp(rule.comment ?? ""));
    if (set !== undefined) {
      sets.set(
        set.name,
        new Set(
          set.elem?.map((e) =>
            ("concat" in e ? e : e.elem.val).concat.map(protocolName).join(" . "),
          ),
        ),
      );
    }
  }
  return ok({ chains, sets });
}

const plannedElements = (plan: RedirectPlan, family: string): string[] =>
  plan.endpoints
    .filter(([address]) => isIpv6Text(address) === (family === "ip6"))
    .map(([address, port, protocol = "tcp"]) => nftElement(address, protocol, port));

export async function nftDifferences(
  plan: RedirectPlan,
  runner: Runner,
): Promise<Result<string[], string>> {
  const table = await readTable(runner);
  return table.ok ? ok(differences(plan, table.value)) : table;
}

const differences = (plan: RedirectPlan, table: TableView | undefined): string[] =>
  table === undefined
    ? [`table ${NFT_TABLE} is missing`]
    : [...chainDifferences(plan, table), ...setDifferences(plan, table)];

function chainDifferences(plan: RedirectPlan, { chains }: TableView): string[] {
  const planned = nftChains(plan);
  const found: string[] = [];
  for (const { name, lines } of planned) {
    const now = chains.get(name);
    const wanted = lines.map(readStamp).join(" ");
    if (now === undefined) found.push(`chain ${name} is missing`);
    else if (now.join(" ") !== wanted) found.push(`chain ${name} holds other rules than planned`);
  }
  const surplus = [...chains.keys()].filter(
    (name) => !planned.some((chain) => chain.name === name),
  );
  return [...found, ...surplus.map((name) => `chain ${name} is not planned`)];
}

const setDifferences = (plan: RedirectPlan, { sets }: TableView): string[] =>
  plan.families.flatMap((family) => {
    const dns = nftSet("dns", family);
    const now = sets.get(nftSet("endpoints", family)) ?? new Set<string>();
    const wanted = new Set(plannedElements(plan, family));
    return [
      ...(plan.resolvers.length > 0 && !sets.has(dns) ? [`set ${dns} is missing`] : []),
      ...[...wanted]
        .filter((element) => !now.has(element))
        .map((element) => `endpoint ${element} is missing`),
      ...[...now]
        .filter((element) => !wanted.has(element))
        .map((element) => `endpoint ${element} is not planned`),
    ];
  });

/** True when anything changed. A change of endpoints alone touches just those elements. */
export async function applyNft(
  plan: RedirectPlan,
  runner: Runner,
): Promise<Result<boolean, string>> {
  const table = await readTable(runner);
  if (!table.ok) return table;
  const found = differences(plan, table.value);
  if (found.length === 0) return ok(false);
  const text = found.every((line) => line.startsWith("endpoint "))
    ? endpointText(plan, found)
    : nftText(plan, table.value?.sets);
  const argv = ["nft", "-f", "-"];
  const ran = await runner.run(argv, text);
  return ran.code === 0 ? ok(true) : err(failure(argv, ran));
}

function endpointText(plan: RedirectPlan, differences: readonly string[]): string {
  const lines = differences.map((line) => {
    const element = line.slice("endpoint ".length).replace(/ is .*$/, "");
    const set = nftSet("endpoints", element.includes(":") ? "ip6" : "ip");
    return `${line.endsWith("missing") ? "add" : "delete"} element ${NFT_TABLE} ${set} { ${element} }`;
  });
  return plan.families.length > 0 ? `${lines.join("\n")}\n` : "";
}

export async function removeNft(runner: Runner): Promise<Result<void, string>> {
  const table = await readTable(runner);
  if (!table.ok) return table;
  if (table.value === undefined) return ok(undefined);
  const argv = ["nft", "delete", "table", ...NFT_TABLE.split(" ")];
  const ran = await runner.run(argv);
  return ran.code === 0 ? ok(undefined) : err(failure(argv, ran));
}
