// Who runs on this host. See proc(5); a host that hides processes of others (hidepid) shows root all the same.
import { statSync } from "node:fs";
import { namesIn, readText } from "./text.ts";

export interface Process {
  readonly pid: number;
  readonly uid: number;
  /** At most 15 bytes, as the kernel keeps it. */
  readonly name: string;
  readonly words: readonly string[];
}

/** Beyond it nobody is looked at. */
const PROCESSES_MAX = 50_000;

export function readProcesses(): readonly Process[] {
  const pids = namesIn("/proc").filter((name) => /^[0-9]+$/.test(name));
  return pids.slice(0, PROCESSES_MAX).flatMap((pid) => {
    const process = readProcess(Number(pid));
    return process === undefined ? [] : [process];
  });
}

/** Undefined: it ended, or is hidden. */
export function readProcess(pid: number): Process | undefined {
  const uid = statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid;
  const name = readText(`/proc/${pid}/comm`)?.trim();
  const line = readText(`/proc/${pid}/cmdline`);
  if (uid === undefined || name === undefined || line === undefined) return undefined;
  return { pid, uid, name, words: line.split("\0").filter((word) => word !== "") };
}

/** Open files that a process may have. */
export function openFilesMaxOf(pid: number): number | undefined {
  const soft = /^Max open files +([0-9]+|unlimited)/m.exec(
    readText(`/proc/${pid}/limits`) ?? "",
  )?.[1];
  if (soft === "unlimited") return Number.POSITIVE_INFINITY;
  return soft === undefined ? undefined : Number(soft);
}
