// What `meshctl check` says: one sentence about one thing, and, unless all is well with it, what to do.

export const GROUPS = [
  "host",
  "kernel",
  "conntrack",
  "agent",
  "ports",
  "server",
  "clock",
  "trust",
  "names",
  "gossip",
  "redirect",
  "leftovers",
  "workloads",
] as const;
export type Group = (typeof GROUPS)[number];

/** `warning`: it works and could stop to, or could not be looked at. `error`: something does not work. */
export type Level = "ok" | "warning" | "error";

export interface Finding {
  readonly group: Group;
  /** Stable words for programs, e.g. `table-full`. */
  readonly check: string;
  readonly level: Level;
  readonly found: string;
  /** A command to paste where there is one. Always there unless `level` is `ok`. */
  readonly next?: string;
}

/** Why something could not be looked at. */
export interface Unseen {
  readonly why: string;
  readonly next: string;
}

export interface Teller {
  ok(check: string, found: string): Finding;
  warning(check: string, found: string, next: string): Finding;
  error(check: string, found: string, next: string): Finding;
  unseen(check: string, what: string, unseen: Unseen): Finding;
}

export const tellerOf = (group: Group): Teller => ({
  ok: (check, found) => ({ group, check, level: "ok", found }),
  warning: (check, found, next) => ({ group, check, level: "warning", found, next }),
  error: (check, found, next) => ({ group, check, level: "error", found, next }),
  unseen: (check, what, { why, next }) => ({
    group,
    check,
    level: "warning",
    found: `${what} could not be looked at: ${why}`,
    next,
  }),
});

export const AS_ROOT: Unseen = { why: "only root may", next: "sudo meshctl check" };

export interface Counts {
  readonly ok: number;
  readonly warning: number;
  readonly error: number;
}
export function countsOf(findings: readonly Finding[]): Counts {
  const counts = { ok: 0, warning: 0, error: 0 };
  for (const { level } of findings) counts[level]++;
  return counts;
}
