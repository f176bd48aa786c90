// Which config server the CLI talks to, whom it trusts there and as whom: ~/.config/ironmesh/contexts.json, 0600, since it
// holds operator tokens. IRONMESH_CONFIG names another file.
import { chmodSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { CommandFailure, usage } from "./failure.ts";

export interface Context {
  /** https URL of the config server. */
  readonly server: string;
  /** The mesh's root certificate. */
  readonly caPem: string;
  /** The operator's secret. */
  readonly token: string;
}
export interface Contexts {
  readonly current: string | undefined;
  readonly contexts: Readonly<Record<string, Context>>;
}

type Env = Readonly<Record<string, string | undefined>>;

export const contextsFile = (env: Env): string =>
  env["IRONMESH_CONFIG"] ||
  join(
    env["XDG_CONFIG_HOME"] || join(env["HOME"] || homedir(), ".config"),
    "ironmesh",
    "contexts.json",
  );

/** None if there is no file yet. */
export function readContexts(file: string): Contexts {
  let text: string;
  try {
    if ((statSync(file).mode & 0o077) !== 0)
      throw new CommandFailure(
        `${file} holds operator tokens and others may read it`,
        `run: chmod 600 ${file}`,
      );
    text = readFileSync(file, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT")
      return { current: undefined, contexts: {} };
    throw error;
  }
  const parsed = parseContexts(text);
  if (parsed === undefined)
    throw new CommandFailure(`${file} is damaged`, "remove it and run `meshctl login` again");
  return parsed;
}

function parseContexts(text: string): Contexts | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null || !("contexts" in value)) return undefined;
  const { contexts } = value;
  if (typeof contexts !== "object" || contexts === null) return undefined;
  const entries: [string, unknown][] = Object.entries(contexts);
  const good = entries.filter((entry): entry is [string, Context] => isContext(entry[1]));
  if (good.length !== entries.length) return undefined;
  const current =
    "current" in value && typeof value.current === "string" ? value.current : undefined;
  return { current, contexts: Object.fromEntries(good) };
}

const isContext = (value: unknown): value is Context =>
  typeof value === "object" &&
  value !== null &&
  "server" in value &&
  typeof value.server === "string" &&
  "caPem" in value &&
  typeof value.caPem === "string" &&
  "token" in value &&
  typeof value.token === "string";

/** Adds or replaces one and makes it current. The file is replaced whole, so a crash leaves the old or the new one. */
export function writeContext(file: string, name: string, context: Context): void {
  const { contexts } = readContexts(file);
  writeContexts(file, { current: name, contexts: { ...contexts, [name]: context } });
}

export function writeContexts(file: string, contexts: Contexts): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const next = `${file}.${process.pid}.new`;
  writeFileSync(next, `${JSON.stringify(contexts, undefined, 2)}\n`, { mode: 0o600 });
  chmodSync(next, 0o600);
  renameSync(next, file);
}

/** The one that --context names, IRONMESH_CONTEXT names, or that is current. */
export function chooseContext(env: Env, asked: string | undefined): Context {
  const file = contextsFile(env);
  const { current, contexts } = readContexts(file);
  const name = asked ?? env["IRONMESH_CONTEXT"] ?? current;
  if (name === undefined)
    throw new CommandFailure(
      `no context in ${file}: which config server is meant?`,
      "run `meshctl login https://SERVER:15010 --ca-sha256 HASH`, or `meshctl demo` for a mesh to try",
    );
  const found = Object.hasOwn(contexts, name) ? contexts[name] : undefined;
  if (found === undefined)
    throw usage(
      `there is no context ${JSON.stringify(name)}; known are ${Object.keys(contexts).join(", ") || "none"}`,
      "run `meshctl login SERVER --context NAME ...` to make one",
    );
  return found;
}
