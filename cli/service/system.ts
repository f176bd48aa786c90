// The host's own programs, run to their end in the installer's name.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { CommandFailure } from "../failure.ts";

/** systemd is this host's init (sd_booted(3)). */
export const isSystemdHost = (): boolean => existsSync("/run/systemd/system");

export const isRoot = (): boolean => process.getuid?.() === 0;

export interface Ran {
  readonly code: number;
  readonly said: string;
}

/** A unit that does not come up is told after its own TimeoutStartSec, so this is longer. */
const RUN_MAX_MS = 60_000;

export function run(...command: readonly string[]): Ran {
  const [file = "", ...args] = command;
  const PATH = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin:/usr/bin:/bin`;
  const env = { ...process.env, LC_ALL: "C", PATH };
  const done = spawnSync(file, args, { encoding: "utf8", timeout: RUN_MAX_MS, env });
  const missing = done.error === undefined ? "" : done.error.message;
  return { code: done.status ?? 127, said: `${done.stderr ?? ""}${missing}`.trim() };
}

export function runOrFail(next: string, ...command: readonly string[]): void {
  const { code, said } = run(...command);
  if (code !== 0)
    throw new CommandFailure(`${command.join(" ")} ended with ${code}: ${said}`, next);
}
