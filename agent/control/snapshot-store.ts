// The last good version on disk, so that an agent serves without its server, after a reboot too. Two files: `sources.json` has
// the manifest and its units, `compiled.json` the Snapshot made of them. A boot reads only the second: no compiler, no zod, one
// JSON.parse. Each file's first line names its format and the SHA-256 of what follows, so a torn or altered one is noticed,
// told and passed over. Sources are written first: after a crash between the two the newer sources are compiled again.
import { join } from "node:path";
import type { SignedManifest, Unit } from "../api/session.ts";
import type { Log } from "../base/log.ts";
import { sha256Hex } from "../pki/sha256.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import { readIfThere, removeDrafts, writeDurably } from "./durable-file.ts";

/** What the manifest of a version names, all of it. */
export interface Sources {
  readonly manifest: SignedManifest;
  readonly units: readonly Unit[];
}

export interface CompiledSources {
  /** See hashOfManifest: says of which sources this was made. */
  readonly manifestHash: string;
  readonly snapshot: Snapshot;
  /** SlotBook.entries when it went live. */
  readonly slots: readonly (readonly [key: string, slot: number])[];
}

export interface SnapshotStore {
  save(sources: Sources, compiled: CompiledSources): Promise<void>;
  /** Undefined: none, damaged, or written by an agent of another version, whose compiler may have meant something else. */
  loadCompiled(): Promise<CompiledSources | undefined>;
  loadSources(): Promise<Sources | undefined>;
  /** Outbound ports of the workloads, whichever version of the agent wrote them: an update must not give a port to another workload,
   *  while rules of before still send the first one's connections there. Empty: nothing was stored. */
  loadPorts(): Promise<readonly (readonly [workload: string, port: number])[]>;
}

/** More than any mesh has; a file beyond it is not ours. */
export const STORED_BYTES_MAX = 512 * 1_048_576;

export const hashOfManifest = (manifest: SignedManifest): string => sha256Hex(manifest.payload);

export class DiskSnapshotStore implements SnapshotStore {
  readonly #directory: string;
  readonly #agentVersion: string;
  readonly #log: Log;

  constructor(config: { stateDir: string; agentVersion: string }, deps: { log: Log }) {
    this.#directory = join(config.stateDir, "snapshot");
    this.#agentVersion = config.agentVersion;
    this.#log = deps.log;
  }

  async save(sources: Sources, compiled: CompiledSources): Promise<void> {
    // First what is under way: the ack.
    await new Promise((resolve) => setImmediate(resolve));
    await writeDurably(this.#path(SOURCES), seal(SOURCES, this.#agentVersion, sources));
    await writeDurably(this.#path(COMPILED), seal(COMPILED, this.#agentVersion, compiled));
  }

  async loadCompiled(): Promise<CompiledSources | undefined> {
    return (await this.#load(COMPILED)) as CompiledSources | undefined;
  }

  async loadSources(): Promise<Sources | undefined> {
    await removeDrafts(this.#directory);
    return (await this.#load(SOURCES)) as Sources | undefined;
  }

  async loadPorts(): Promise<readonly (readonly [string, number])[]> {
    const compiled = (await this.#load(COMPILED, true)) as Partial<CompiledSources> | undefined;
    const { workloads } = (compiled?.snapshot ?? {}) as Partial<Snapshot>;
    if (!Array.isArray(workloads)) return [];
    return workloads.flatMap((one: Partial<Snapshot["workloads"][number]>) =>
      typeof one.outboundPort === "number"
        ? [[`${one.namespace}/${one.name}`, one.outboundPort] as const]
        : [],
    );
  }

  /** The hash vouches for the shape: only save() writes these files, and they are ours alone (0600). */
  async #load(what: Stored, ofAnyVersion = what !== COMPILED): Promise<unknown> {
    const path = this.#path(what);
    try {
      const text = await readIfThere(path, STORED_BYTES_MAX);
      if (text === undefined) return undefined;
      const opened = await unseal(what, text);
      if (opened === undefined) {
        this.#log.error("a stored version is damaged and passed over", { path });
        return undefined;
      }
      if (!ofAnyVersion && opened.agentVersion !== this.#agentVersion) return undefined;
      return JSON.parse(opened.body);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : "unknown";
      this.#log.error("a stored version cannot be read and is passed over", { path, reason });
      return undefined;
    }
  }

  #path(what: Stored): string {
    return join(this.#directory, `${what}.json`);
  }
}

const SOURCES = "sources";
const COMPILED = "compiled";
type Stored = typeof SOURCES | typeof COMPILED;
const FORMAT = "ironmesh/1";

function seal(what: Stored, agentVersion: string, value: unknown): string {
  const body = JSON.stringify(value);
  return `${FORMAT} ${what} ${sha256Hex(body)} ${agentVersion}\n${body}`;
}

async function unseal(
  what: Stored,
  text: string,
): Promise<{ agentVersion: string; body: string } | undefined> {
  const lineEnd = text.indexOf("\n");
  const [format, kind, hash, agentVersion = ""] = text.slice(0, Math.max(0, lineEnd)).split(" ");
  const body = text.slice(lineEnd + 1);
  if (format !== FORMAT || kind !== what || hash !== (await digestOf(body))) return undefined;
  return { agentVersion, body };
}

/** As sha256Hex, by the runtime's WebCrypto, which needs no loading: a start waits for this one. */
async function digestOf(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Buffer.from(digest).toString("hex");
}
