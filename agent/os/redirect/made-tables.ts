// iptables-nft makes a table with its base chains on first use and never takes it away. One that we made, and that is empty
// again, goes; a host without the program nft keeps it, which changes nothing for any packet.
import type { Family } from "./rules.ts";
import type { Runner } from "./runner.ts";

interface Listing {
  readonly nftables: readonly {
    readonly chain?: { readonly name: string; readonly policy?: string };
    readonly rule?: unknown;
    readonly set?: unknown;
  }[];
}

export async function removeMadeTables(
  family: Family,
  tables: readonly string[],
  runner: Runner,
): Promise<void> {
  for (const table of tables) {
    const listed = await runner.run(["nft", "-j", "list", "table", family, table]);
    if (listed.code !== 0) continue;
    const { nftables } = JSON.parse(listed.stdout) as Listing;
    const chains = nftables.flatMap(({ chain }) => (chain === undefined ? [] : [chain]));
    const isEmpty =
      nftables.every((entry) => entry.rule === undefined && entry.set === undefined) &&
      chains.every((chain) => chain.policy === undefined || chain.policy === "accept");
    if (!isEmpty) continue;
    // Deleting a chain that got a rule meanwhile fails, and the whole transaction with it.
    const text = [
      ...chains.map((chain) => `delete chain ${family} ${table} ${chain.name}`),
      `delete table ${family} ${table}`,
    ];
    await runner.run(["nft", "-f", "-"], `${text.join("\n")}\n`);
  }
}
