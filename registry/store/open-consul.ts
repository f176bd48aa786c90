// The Consul store as a config server opens it: its token from a file that is its owner's alone, and a note in the state directory of
// what was seen, so that a Consul that lost everything is not taken for one that never had anything.
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { SeededRandom } from "../../agent/base/clock.ts";
import { ConsulClient } from "../consul/client.ts";
import { ConsulStore } from "./consul.ts";
import { type ConsulStoreDeps, PREFIX_DEFAULT } from "./consul-state.ts";
import type { Position, Store } from "./store.ts";

export interface ConsulAccess {
  /** `http://HOST:PORT` or `https://HOST:PORT`. */
  readonly url: string;
  readonly tokenFile?: string | undefined;
  /** PEM roots for https; default: the runtime's. */
  readonly caFile?: string | undefined;
}

export interface ConsulStoreOptions extends ConsulAccess {
  readonly stateDir: string;
  readonly epoch: number;
  readonly replaceEpoch: boolean;
  readonly sealKey: Uint8Array;
}

export function openConsulClient({ url, tokenFile, caFile }: ConsulAccess): ConsulClient {
  return new ConsulClient({
    url,
    token: tokenFile === undefined ? undefined : readToken(tokenFile),
    caPem: caFile === undefined ? undefined : readFileSync(caFile, "utf8"),
  });
}

export async function openConsulStore(
  options: ConsulStoreOptions,
  deps: Omit<ConsulStoreDeps, "consul" | "random">,
): Promise<Store> {
  const { stateDir, epoch, replaceEpoch, sealKey } = options;
  const note = join(stateDir, "consul-seen.json");
  const consul = openConsulClient(options);
  const random = new SeededRandom(epoch ^ process.pid);
  try {
    const store = await ConsulStore.open(
      { prefix: PREFIX_DEFAULT, epoch, replaceEpoch, sealKey, seen: readSeen(note) },
      { ...deps, consul, random },
    );
    writeFileSync(note, `${JSON.stringify(await store.position())}\n`, { mode: 0o600 });
    return store;
  } catch (cause) {
    consul.close();
    throw cause;
  }
}

/** Throws in words for a file that others can read, or that holds no token. The token is in no message. */
export function readToken(file: string): string {
  const mode = statSync(file).mode & 0o777;
  if ((mode & 0o077) !== 0) {
    throw new Error(
      `--consul-token-file ${file} can be read by others (mode ${mode.toString(8)}): chmod 600 ${file}`,
    );
  }
  const token = readFileSync(file, "utf8").trim();
  if (!/^[\x21-\x7e]{1,256}$/.test(token))
    throw new Error(`--consul-token-file ${file} does not hold one token: write Consul's SecretID`);
  return token;
}

const seenShape = z.strictObject({
  epoch: z.int().nonnegative(),
  version: z.int().nonnegative(),
});

function readSeen(note: string): Position | undefined {
  if (!existsSync(note)) return undefined;
  const text = readFileSync(note, "utf8");
  try {
    return seenShape.parse(JSON.parse(text));
  } catch (cause) {
    throw new Error(
      `${note} is damaged: compare \`meshctl status\` of another server, then remove it`,
      { cause },
    );
  }
}
