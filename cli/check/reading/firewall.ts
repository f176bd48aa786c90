// What the host's firewall holds, ours and everybody's: iptables as its save programs print it, native nft tables as JSON. Read only.
import { err, ok, type Result } from "../../../agent/base/result.ts";
import { AS_ROOT, type Unseen } from "../finding.ts";
import { type Finished, runProgram } from "./program.ts";
import { readText } from "./text.ts";

export interface SavedChain {
  readonly name: string;
  /** A place where the kernel enters, such as OUTPUT. */
  readonly isBuiltIn: boolean;
  /** Without `-A CHAIN`. */
  readonly rules: readonly string[];
}
export interface SavedTable {
  /** What edits it: `iptables`, `ip6tables-legacy` and so on. */
  readonly program: string;
  readonly table: string;
  readonly chains: readonly SavedChain[];
}
export interface NftChain {
  /** `inet ironmesh` */
  readonly table: string;
  readonly name: string;
  readonly hook: string | undefined;
  readonly type: string | undefined;
  readonly priority: number | undefined;
  /** Verdicts of its rules that end or turn a packet's way, and chains it calls. */
  readonly turns: readonly string[];
  readonly calls: readonly string[];
}
export interface Firewall {
  readonly iptables: readonly SavedTable[];
  readonly nft: readonly NftChain[];
}

export async function readFirewall(timeoutMs: number): Promise<Result<Firewall, Unseen>> {
  const variants = ["nft", ...(hasLegacyTables() ? ["legacy"] : [])];
  const programs = variants.flatMap((variant) => [`iptables-${variant}`, `ip6tables-${variant}`]);
  const [nft, ...saved] = await Promise.all([
    runProgram(["nft", "-j", "-t", "list", "ruleset"], timeoutMs),
    ...programs.map((program) => runProgram([`${program}-save`], timeoutMs)),
  ]);
  const all = [nft, ...saved];
  if (all.every(({ code }) => code === 127)) return ok({ iptables: [], nft: [] });
  const refused = all.find(({ stderr }) =>
    /permitted|permission denied|must be root/i.test(stderr),
  );
  if (refused !== undefined) return err(AS_ROOT);
  if (nft.code !== 0 && nft.code !== 127) return err(failed("nft list ruleset", nft));
  return ok({
    nft: nft.code === 0 ? parseNft(nft.stdout) : [],
    // A host without IPv6 may have no ip6tables that works: what it does not tell is not there.
    iptables: saved.flatMap(({ code, stdout }, i) =>
      code === 0 ? parseSaved(programs[i] ?? "", stdout) : [],
    ),
  });
}

/** Asked for nothing, the legacy program would load its modules and so make tables. Root alone may read the list. */
const hasLegacyTables = (): boolean =>
  ["ip_tables_names", "ip6_tables_names"].some(
    (name) => (readText(`/proc/net/${name}`) ?? "") !== "",
  );

const failed = (what: string, { code, stderr }: Finished): Unseen => ({
  why: `${what} ${code === 124 ? "did not answer in time" : `ended with ${code}: ${stderr.trim().slice(0, 200)}`}`,
  next: `run \`${what}\` yourself and mend what it says`,
});

export function parseSaved(program: string, text: string): readonly SavedTable[] {
  const tables: { table: string; chains: Map<string, { isBuiltIn: boolean; rules: string[] }> }[] =
    [];
  for (const line of text.split("\n")) {
    const here = tables.at(-1)?.chains;
    const [, table] = /^\*(\S+)/.exec(line) ?? [];
    const [, chain, policy] = /^:(\S+) (\S+)/.exec(line) ?? [];
    const [, from, rule] = /^-A (\S+) (.*)$/.exec(line) ?? [];
    if (table !== undefined) tables.push({ table, chains: new Map() });
    else if (chain !== undefined) here?.set(chain, { isBuiltIn: policy !== "-", rules: [] });
    else if (from !== undefined && rule !== undefined) here?.get(from)?.rules.push(rule);
  }
  return tables.map(({ table, chains }) => ({
    program,
    table,
    chains: [...chains].map(([name, chain]) => ({ name, ...chain })),
  }));
}

interface NftListing {
  readonly nftables?: readonly {
    readonly chain?: {
      readonly family: string;
      readonly table: string;
      readonly name: string;
      readonly hook?: string;
      readonly type?: string;
      readonly prio?: number;
    };
    readonly rule?: {
      readonly family: string;
      readonly table: string;
      readonly chain: string;
      readonly expr?: readonly Readonly<Record<string, unknown>>[];
    };
  }[];
}

const TURNS = ["redirect", "dnat", "tproxy", "accept", "drop"];

export function parseNft(text: string): readonly NftChain[] {
  const chains = new Map<string, NftChain & { turns: string[]; calls: string[] }>();
  for (const { chain, rule } of (JSON.parse(text) as NftListing).nftables ?? []) {
    if (chain !== undefined) {
      const { family, table, name, hook, type, prio: priority } = chain;
      chains.set(`${family} ${table} ${name}`, {
        ...{ table: `${family} ${table}`, name, hook, type, priority },
        ...{ turns: [], calls: [] },
      });
    }
    const into = rule && chains.get(`${rule.family} ${rule.table} ${rule.chain}`);
    for (const step of rule?.expr ?? []) readStep(step, into);
  }
  return [...chains.values()];
}

function readStep(
  step: Readonly<Record<string, unknown>>,
  into: { turns: string[]; calls: string[] } | undefined,
): void {
  for (const [verb, what] of Object.entries(step)) {
    if (TURNS.includes(verb)) into?.turns.push(verb);
    if (verb !== "jump" && verb !== "goto") continue;
    const { target } = (what ?? {}) as { readonly target?: unknown };
    if (typeof target === "string") into?.calls.push(target);
  }
}
