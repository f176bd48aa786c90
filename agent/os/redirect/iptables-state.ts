// What iptables-save says of our chains, and the restore text that leads from there to what is wanted. Wanting nothing
// removes; wanting what was there before rolls back.
import { CHAIN_PREFIX, TABLES, type Table, type TableText } from "./iptables.ts";
import { readStamp } from "./stamp.ts";

export interface TableState {
  /** Our chains' rules as listed, without `-A CHAIN`. */
  readonly chains: ReadonlyMap<string, readonly string[]>;
  readonly jumps: readonly { readonly from: string; readonly line: string }[];
}
export type IptablesState = ReadonlyMap<Table, TableState>;

/** An empty chain in a table that did not exist before us: removing the redirect takes such a table away again. */
const MADE_TABLE = `${CHAIN_PREFIX}MADE_TABLE`;

interface TableReading {
  readonly chains: Map<string, string[]>;
  readonly jumps: { from: string; line: string }[];
}

export function readState(saved: string): IptablesState {
  const state = new Map<Table, TableReading>();
  let here: TableReading | undefined;
  for (const row of saved.split("\n")) {
    if (row.startsWith("*")) {
      const table = TABLES.find((name) => row === `*${name}`);
      here = table === undefined ? undefined : { chains: new Map(), jumps: [] };
      if (table !== undefined && here !== undefined) state.set(table, here);
    }
    if (here !== undefined) readRow(row, here); // otherwise a table we never touch, such as raw
  }
  return state;
}

const ENTERS_OURS = new RegExp(` -[jg] ${CHAIN_PREFIX}`);

function readRow(row: string, here: TableReading): void {
  if (row.startsWith(`:${CHAIN_PREFIX}`)) here.chains.set(row.slice(1).split(" ")[0] ?? "", []);
  if (!row.startsWith("-A ")) return;
  const [, chain = ""] = row.split(" ", 2);
  const line = row.slice(4 + chain.length);
  if (chain.startsWith(CHAIN_PREFIX)) here.chains.get(chain)?.push(line);
  else if (ENTERS_OURS.test(row)) here.jumps.push({ from: chain, line });
}

export const hasMadeTable = (state: TableState | undefined): boolean =>
  state?.chains.has(MADE_TABLE) ?? false;

export const holdsOurs = (state: TableState): boolean =>
  state.chains.size > 0 || state.jumps.length > 0;

/** The state that a plan's table means; marks the table as made by us where it is not there yet, or was so marked. */
export function wantedState(text: TableText, before: TableState | undefined): TableState {
  const chains = new Map(text.chains.map(({ name, lines }) => [name, lines]));
  if (before === undefined || hasMadeTable(before)) chains.set(MADE_TABLE, []);
  return { chains, jumps: text.jumps };
}

const EMPTY: TableState = { chains: new Map(), jumps: [] };

const stamps = (lines: readonly string[] | undefined): string =>
  lines === undefined ? "absent" : lines.map(readStamp).join(" ");

const jumpKey = (jump: { from: string; line: string }): string =>
  `${jump.from} ${readStamp(jump.line)}`;

export function tableDifferences(
  where: string,
  wanted: TableState = EMPTY,
  now: TableState = EMPTY,
): string[] {
  const found: string[] = [];
  for (const [name, lines] of wanted.chains) {
    if (stamps(lines) !== stamps(now.chains.get(name))) {
      const what = now.chains.has(name) ? "holds other rules than planned" : "is missing";
      found.push(`${where}: chain ${name} ${what}`);
    }
  }
  for (const name of now.chains.keys()) {
    if (!wanted.chains.has(name)) found.push(`${where}: chain ${name} is not planned`);
  }
  const wantedJumps = wanted.jumps.map(jumpKey);
  const jumps = now.jumps.map(jumpKey);
  for (const jump of wantedJumps)
    if (!jumps.includes(jump))
      found.push(`${where}: ${jump.split(" ")[0]} does not enter our chain`);
  jumps.forEach((jump, i) => {
    if (!wantedJumps.includes(jump) || jumps.indexOf(jump) !== i)
      found.push(`${where}: ${jump.split(" ")[0]} enters our chain by another rule`);
  });
  return found;
}

/** For iptables-restore --noflush; empty when nothing is to be done. */
export function restoreText(
  table: Table,
  wanted: TableState = EMPTY,
  now: TableState = EMPTY,
): string {
  if (tableDifferences("", wanted, now).length === 0) return "";
  const keptJumps = new Set(now.jumps.map(jumpKey));
  const isTwin = now.jumps.length > wanted.jumps.length;
  const stay = (jump: { from: string; line: string }): boolean =>
    !isTwin &&
    keptJumps.has(jumpKey(jump)) &&
    wanted.jumps.some((other) => jumpKey(other) === jumpKey(jump));
  const stale = [...now.chains.keys()].filter((name) => !wanted.chains.has(name));
  return [
    `*${table}`,
    // A chain named here is made, or emptied if it is there.
    ...[...wanted.chains.keys()].map((name) => `:${name} - [0:0]`),
    ...now.jumps.filter((jump) => !stay(jump)).map(({ from, line }) => `-D ${from} ${line}`),
    ...stale.map((name) => `-F ${name}`),
    ...[...wanted.chains].flatMap(([name, lines]) => lines.map((line) => `-A ${name} ${line}`)),
    ...wanted.jumps.filter((jump) => !stay(jump)).map(({ from, line }) => `-I ${from} 1 ${line}`),
    ...stale.map((name) => `-X ${name}`),
    "COMMIT",
    "",
  ].join("\n");
}
