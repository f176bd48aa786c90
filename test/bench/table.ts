// What the benchmark prints and writes: one line a figure, with what was asked of it.

import { execFileSync } from "node:child_process";
import { cpus } from "node:os";

export interface Detail {
  readonly case: string;
  readonly who: string;
  readonly cpu: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly rss: number;
  readonly anonymous: number;
}

/** `must` and `goal` are held against `ratio`, or against `ours` where there is no peer. Without `must`: only told. */
export interface Row {
  readonly name: string;
  readonly measure: string;
  readonly ours: number;
  readonly peer?: number;
  /** Default: haproxy. */
  readonly peerName?: string;
  readonly ratio?: number;
  readonly must?: number;
  readonly goal?: number;
  readonly isMoreBetter?: boolean;
  readonly details?: readonly Detail[];
}

export function verdict(row: Row): string {
  if (row.must === undefined) return "";
  const value = row.ratio ?? row.ours;
  const reaches = (bound: number): boolean =>
    row.isMoreBetter === true ? value >= bound : value <= bound;
  if (!reaches(row.must)) return "**no**";
  return row.goal !== undefined && reaches(row.goal) ? "goal" : "yes";
}

export function markdownTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const widths = header.map((title, i) =>
    Math.max(title.length, ...rows.map((row) => row[i]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(" | ")} |`;
  return [line(header), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join(
    "\n",
  );
}

export function resultTable(rows: readonly Row[]): string {
  const cells = rows.map((row) => [
    row.name,
    row.measure,
    shown(row.ours),
    row.peer === undefined ? "" : `${shown(row.peer)} ${row.peerName ?? "haproxy"}`,
    row.ratio === undefined ? "" : row.ratio.toFixed(2),
    shown(row.must),
    shown(row.goal),
    verdict(row),
  ]);
  return markdownTable(
    ["case", "measure", "ironmesh", "peer", "ratio", "must", "goal", "holds"],
    cells,
  );
}

/** `above`: what the executable reached in the same cases. */
export function otherRuntimeTable(
  runtime: string,
  rows: readonly Row[],
  above: readonly Row[],
): string {
  const cells = rows.map(({ name, measure, ours, peer, ratio }) => {
    const bun = above.find((row) => row.name === name && row.measure === measure)?.ours;
    return [
      name,
      measure,
      shown(ours),
      shown(peer),
      ratio === undefined ? "" : ratio.toFixed(2),
      shown(bun),
      bun === undefined || bun === 0 ? "" : (ours / bun).toFixed(2),
    ];
  });
  return markdownTable(["case", "measure", runtime, "haproxy", "ratio", "Bun", "to Bun"], cells);
}

export function detailTable(rows: readonly Row[]): string {
  const cells = rows
    .flatMap((row) => row.details ?? [])
    .map((one) => [
      one.case,
      one.who,
      one.cpu.toFixed(1),
      one.perSecond.toFixed(0),
      one.p50Ms.toFixed(2),
      one.p99Ms.toFixed(2),
      `${one.rss.toFixed(0)} / ${one.anonymous.toFixed(0)}`,
    ]);
  return markdownTable(
    ["case", "who", "CPU us/request", "rps", "p50 ms", "p99 ms", "RSS / anon MB"],
    cells,
  );
}

function shown(value: number | undefined): string {
  if (value === undefined) return "";
  return Number.isInteger(value) ? `${value}` : value.toFixed(Math.abs(value) < 10 ? 2 : 1);
}

/** What the figures are figures of. */
export function machine(): string {
  const cores = cpus();
  const version = (command: string, ...args: readonly string[]): string =>
    /\d+\.\d+(\.\d+)*/.exec(
      execFileSync("sh", ["-c", [command, ...args].join(" ")]).toString(),
    )?.[0] ?? "?";
  return [
    `- machine: ${cores.length} cores (${cores[0]?.model.trim() ?? "?"}), Linux ${version("uname", "-r")}`,
    `- haproxy ${version("haproxy", "-v")} (nbthread 1), nginx ${version("nginx", "-v", "2>&1")}, iperf ${version("iperf3", "-v")}, Bun ${Bun.version}`,
  ].join("\n");
}
