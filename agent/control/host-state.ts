// What a host knows of itself once it joined: `host.json` (who, where the servers are) and `trust.json` (whom it believes), in
// the agent's state directory. Keys lie beside them, in identities/; see identity-files.ts.
import { join } from "node:path";
import { TrustBundle, type TrustRoots } from "../pki/trust-bundle.ts";
import { readIfThere, writeDurably } from "./durable-file.ts";

export interface HostState {
  readonly host: string;
  readonly trustDomain: string;
  /** https URLs of config servers. */
  readonly servers: readonly string[];
  readonly joinedAtMs: number;
}

const STATE_BYTES_MAX = 1_048_576;

/** Undefined: this host has not joined. */
export async function readHostState(stateDir: string): Promise<HostState | undefined> {
  return (await readJson(join(stateDir, "host.json"))) as HostState | undefined;
}
export async function writeHostState(stateDir: string, state: HostState): Promise<void> {
  await writeDurably(join(stateDir, "host.json"), `${JSON.stringify(state, undefined, 2)}\n`);
}

export async function readTrust(stateDir: string): Promise<TrustRoots | undefined> {
  return (await readJson(join(stateDir, "trust.json"))) as TrustRoots | undefined;
}
export async function writeTrust(
  stateDir: string,
  { trustDomain, roots }: TrustRoots,
): Promise<void> {
  await writeDurably(
    join(stateDir, "trust.json"),
    `${JSON.stringify({ trustDomain, roots }, undefined, 2)}\n`,
  );
}

/** The bundle as the last join or renewal left it. Throws when there is none: a member without roots trusts nobody. */
export async function openTrust(stateDir: string): Promise<TrustBundle> {
  const stored = await readTrust(stateDir);
  const trust = new TrustBundle(stored?.trustDomain ?? "");
  const taken = trust.replace(stored?.roots ?? []);
  if (taken.ok) return trust;
  throw new Error(
    `${join(stateDir, "trust.json")} is missing or damaged (${taken.error}): join again with a new token`,
  );
}

async function readJson(path: string): Promise<unknown> {
  const text = await readIfThere(path, STATE_BYTES_MAX);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(
      `${path} is damaged: restore it, or remove the state directory and join with a new token`,
    );
  }
}
