// Files that survive power loss and are never half there: written beside, flushed, renamed, the directory flushed. 0600, since
// most of them hold keys or say who is trusted.
import type { FileHandle } from "node:fs/promises";
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";

export async function writeDurably(path: string, text: string): Promise<void> {
  const directory = dirname(path);
  const draft = `${path}.${crypto.randomUUID()}${DRAFT_SUFFIX}`;
  try {
    const file = await create(draft);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
  } catch (cause) {
    await rm(draft, { force: true });
    throw cause;
  }
  await flushDirectory(directory);
}

const DRAFT_SUFFIX = ".draft";

/** With its directory, where that is missing. */
async function create(path: string): Promise<FileHandle> {
  try {
    return await open(path, "wx", 0o600);
  } catch (cause) {
    if (!isMissing(cause)) throw cause;
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    return open(path, "wx", 0o600);
  }
}

/** Drafts that a crash left behind. */
export async function removeDrafts(directory: string): Promise<void> {
  for (const name of await namesIn(directory)) {
    if (name.endsWith(DRAFT_SUFFIX)) await rm(join(directory, name), { force: true });
  }
}

/** Undefined when there is no such file. Throws when it is larger than `bytesMax` or cannot be read. */
export async function readIfThere(path: string, bytesMax: number): Promise<string | undefined> {
  try {
    const { size } = await stat(path);
    if (size > bytesMax)
      throw new Error(`${path} has ${size} bytes, more than the ${bytesMax} it may have`);
    return await readFile(path, "utf8");
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw cause;
  }
}

export async function removeDurably(path: string): Promise<void> {
  await rm(path, { force: true });
  await flushDirectory(dirname(path));
}

export async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (cause) {
    if (isMissing(cause)) return [];
    throw cause;
  }
}

async function flushDirectory(path: string): Promise<void> {
  const directory = await open(path, "r");
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

const isMissing = (cause: unknown): boolean =>
  cause instanceof Error && (cause as NodeJS.ErrnoException).code === "ENOENT";
