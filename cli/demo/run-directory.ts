// What a demo leaves on disk while it runs, all under RUN_DIRECTORY: the programs' scripts, the resources to try, logs, each host's
// state, and who made it. A second demo refuses to start beside a living one and clears away a dead one.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { APP_SOURCES } from "./app-sources.ts";
import { RUN_DIRECTORY } from "./layout.ts";
import { type ExampleName, YAML_SOURCES } from "./yaml-sources.ts";

export type { ExampleName } from "./yaml-sources.ts";

const OWNER_FILE = `${RUN_DIRECTORY}/demo.json`;
/** Where `meshctl demo` keeps what a person may want to open and apply. */
export const EXAMPLES = `${RUN_DIRECTORY}/examples`;
export const APPS = `${RUN_DIRECTORY}/apps`;
export const LOGS = `${RUN_DIRECTORY}/logs`;
export const examplePath = (name: ExampleName): string => `${EXAMPLES}/${name}`;
export const logPath = (name: string): string => `${LOGS}/${name}.log`;

interface Owner {
  readonly pid: number;
  /** In clock ticks since boot: a pid alone may have been given to somebody else. */
  readonly startedAt: string;
}

/** The process that runs a demo on this machine now, if one does. */
export function runningDemo(): number | undefined {
  try {
    const owner = JSON.parse(readFileSync(OWNER_FILE, "utf8")) as Owner;
    return startedAt(owner.pid) === owner.startedAt ? owner.pid : undefined;
  } catch {
    return undefined; // no demo, or one that died before it wrote its name: nothing lives
  }
}

export function writeRunDirectory(): void {
  for (const path of [RUN_DIRECTORY, EXAMPLES, APPS, LOGS])
    mkdirSync(path, { recursive: true, mode: 0o755 });
  const owner: Owner = { pid: process.pid, startedAt: startedAt(process.pid) };
  writeFileSync(OWNER_FILE, JSON.stringify(owner));
  for (const [file, text] of Object.entries(APP_SOURCES)) writeFileSync(`${APPS}/${file}`, text);
  for (const [file, text] of Object.entries(YAML_SOURCES))
    writeFileSync(`${EXAMPLES}/${file}`, text);
}

/** Field 22 of /proc/PID/stat; the name before it may hold spaces and ends with the last parenthesis. */
function startedAt(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
}
