// Rules of others that stand before ours and could end a connection's way through NAT: the first that translates it wins.
import type { Firewall, NftChain, SavedChain, SavedTable } from "../reading/firewall.ts";

export interface Rival {
  readonly where: string;
  readonly rule: string;
  readonly next: string;
}

const OURS = "IRONMESH_";
const OUR_TABLE = "inet ironmesh";
const HOOKS = ["OUTPUT", "PREROUTING"];
/** In a chain where the kernel enters, RETURN ends the way too. */
const TURNS = ["REDIRECT", "DNAT", "ACCEPT", "TPROXY"];
/** Where our own chains stand in native tables (agent/os/redirect/nft.ts). */
const OUR_NAT_PRIORITY = -101;
const NFT_TURNS = ["redirect", "dnat", "accept"];

export const rivalsOf = ({ iptables, nft }: Firewall): readonly Rival[] => [
  ...iptables.filter(({ table }) => table === "nat").flatMap(inIptables),
  ...(nft.some(({ table }) => table === OUR_TABLE) ? inNft(nft) : []),
];

function inIptables({ program, table, chains }: SavedTable): readonly Rival[] {
  const entered = chains.filter(({ name, isBuiltIn }) => isBuiltIn && HOOKS.includes(name));
  return entered.flatMap(({ name, rules }) => {
    const at = rules.findIndex((rule) => targetOf(rule)?.startsWith(OURS) === true);
    return rules
      .slice(0, Math.max(0, at))
      .filter((rule) => targetOf(rule) === "RETURN" || takes(rule, chains, new Set()))
      .map((rule) => ({
        where: `${program} ${table} ${name}`,
        rule,
        next: `if nothing needs it: ${program} -t ${table} -D ${name} ${rule}`,
      }));
  });
}

export const targetOf = (rule: string): string | undefined => /(?:^| )-[jg] (\S+)/.exec(rule)?.[1];

function takes(rule: string, chains: readonly SavedChain[], seen: Set<string>): boolean {
  const target = targetOf(rule);
  if (target === undefined || seen.has(target)) return false;
  if (TURNS.includes(target)) return true;
  seen.add(target);
  const called = chains.find(({ name }) => name === target);
  return called?.rules.some((one) => takes(one, chains, seen)) ?? false;
}

function inNft(all: readonly NftChain[]): readonly Rival[] {
  return all
    .filter(
      ({ table, hook, type, priority = 0 }) =>
        table !== OUR_TABLE &&
        type === "nat" &&
        HOOKS.includes((hook ?? "").toUpperCase()) &&
        priority <= OUR_NAT_PRIORITY,
    )
    .filter((chain) => turnsAnywhere(chain, all, new Set()))
    .map(({ table, name, hook, priority }) => ({
      where: `nft ${table} ${name}`,
      rule: `type nat hook ${hook} priority ${priority}`,
      next: `nft list chain ${table} ${name} # if nothing needs it: nft delete chain ${table} ${name}`,
    }));
}

function turnsAnywhere(chain: NftChain, all: readonly NftChain[], seen: Set<string>): boolean {
  if (chain.turns.some((turn) => NFT_TURNS.includes(turn))) return true;
  seen.add(chain.name);
  return chain.calls.some((name) => {
    const called = all.find((one) => one.table === chain.table && one.name === name);
    return called !== undefined && !seen.has(name) && turnsAnywhere(called, all, seen);
  });
}
