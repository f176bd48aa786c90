// How systemd sees the units of ours that this host has.
import { existsSync } from "node:fs";
import { isSystemdHost } from "../../service/system.ts";
import { AGENT_FILES } from "../../service/unit-files.ts";
import { runProgram } from "./program.ts";

export interface Unit {
  readonly name: string;
  /** `active`, `failed`, `inactive`, `activating` */
  readonly active: string;
  /** `enabled`, `disabled` */
  readonly enabled: string;
  /** `success`, `exit-code`, `watchdog` */
  readonly result: string;
  readonly restarts: number;
}

/** Undefined: no systemd, or none of our units. */
export async function readUnits(timeoutMs: number): Promise<readonly Unit[] | undefined> {
  const names = AGENT_FILES.filter(({ path }) => path.endsWith(".service") && existsSync(path)).map(
    ({ source }) => source,
  );
  if (!isSystemdHost() || names.length === 0) return undefined;
  const fields = "Id,ActiveState,UnitFileState,Result,NRestarts";
  const shown = await runProgram(
    ["systemctl", "show", `--property=${fields}`, ...names],
    timeoutMs,
  );
  return shown.code === 0 ? parseUnits(shown.stdout) : undefined;
}

export function parseUnits(text: string): readonly Unit[] {
  return text
    .trim()
    .split("\n\n")
    .map((block) => new Map(block.split("\n").map((line) => splitOnce(line, "="))))
    .map((fields) => ({
      name: fields.get("Id") ?? "",
      active: fields.get("ActiveState") ?? "",
      enabled: fields.get("UnitFileState") ?? "",
      result: fields.get("Result") ?? "",
      restarts: Number(fields.get("NRestarts") ?? 0),
    }));
}

function splitOnce(line: string, separator: string): [string, string] {
  const at = line.indexOf(separator);
  return at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + separator.length)];
}
