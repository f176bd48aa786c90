// Small files of the kernel and of the host. What is not there, or may not be read, is undefined.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // each caller knows what a lack of it means
  }
}

/** Entries of a directory; none if it is not there or may not be read. */
export function namesIn(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

export function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** A number that is all of the text. */
export function numberIn(text: string | undefined): number | undefined {
  const trimmed = text?.trim() ?? "";
  return /^[0-9]+$/.test(trimmed) ? Number(trimmed) : undefined;
}
