// How the mesh's state lies in Consul's KV. One head names all pages and is the only thing ever overwritten; pages are written once,
// under names never used before, and read by the hash the head gives. So one compare-and-set on the head is a whole commit, however
// many values of at most 512 KiB it takes, and a writer that dies half way leaves only pages that nobody names.
//
//   PREFIX/head                                   {epoch, version, sequence, attempt, pages: bucket -> parts}, sealed
//   PREFIX/page/SEQUENCE-ATTEMPT-BUCKET-PART      a piece of a bucket's records, JSON
//   PREFIX/audit/VERSION                          who did what, sealed; PREFIX/audit-part/... where it is long
//
// SEQUENCE counts heads. A page of a sequence that the head has reached, and that the head does not name, can never be named again:
// that is what makes sweeping safe beside other writers.
import { createHash } from "node:crypto";
import * as z from "zod";

export const BUCKETS = 128;
/** Below Consul's own limit for a value, with room for what it adds. */
export const PART_BYTES_MAX = 500_000;
/** Parts of one bucket: what a head names stays small enough for a transaction. */
const PARTS_MAX = 1_024;

export type Table = "resource" | "host" | "allocation" | "token" | "operator" | "discovered";
/** Table, key, value. */
export type RowChange = readonly [table: Table, key: string, value: unknown];
/** One bucket's rows by `TABLE KEY`. */
export type Bucket = ReadonlyMap<string, RowChange>;

export interface PartName {
  /** Below PREFIX/page/ or PREFIX/audit-part/. */
  readonly name: string;
  readonly sha256: string;
}

export interface Head {
  readonly format: 1;
  readonly epoch: number;
  readonly version: number;
  readonly sequence: number;
  /** Random: by it a writer whose answer was lost finds out whether it had written. */
  readonly attempt: string;
  readonly pages: Readonly<Record<string, readonly PartName[]>>;
}

const part = z.strictObject({
  name: z.string().max(128),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});
const headShape = z.strictObject({
  format: z.literal(1),
  epoch: z.int().nonnegative(),
  version: z.int().nonnegative(),
  sequence: z.int().nonnegative(),
  attempt: z.string().max(64),
  pages: z.record(z.string().regex(/^\d{1,3}$/), z.array(part).max(PARTS_MAX)),
});

/** Undefined: not a head of this format. */
export function parseHead(text: string): Head | undefined {
  const value = parseJson(text);
  const parsed = headShape.safeParse(value);
  return parsed.success ? parsed.data : undefined;
}

/** Undefined: not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export const sha256Of = (text: string | Uint8Array): string =>
  createHash("sha256").update(text).digest("hex");

export const rowId = (table: Table, key: string): string => `${table} ${key}`;

export const bucketOf = (table: Table, key: string): number =>
  Number.parseInt(sha256Of(rowId(table, key)).slice(0, 8), 16) % BUCKETS;

/** The same rows always give the same text. */
export const writeBucket = (bucket: Bucket): string =>
  JSON.stringify([...bucket.values()].sort(byRow));

const byRow = (a: RowChange, b: RowChange): number =>
  rowId(a[0], a[1]) < rowId(b[0], b[1]) ? -1 : 1;

/** Of a text whose hash the sealed head named, so its shape is our own. */
export function readBucket(text: string): Bucket {
  const rows = JSON.parse(text) as readonly RowChange[];
  return new Map(rows.map((row) => [rowId(row[0], row[1]), row]));
}

/** Pieces of at most PART_BYTES_MAX bytes, cut between characters. */
export function* partsOf(text: string): Generator<string> {
  const bytes = Buffer.from(text, "utf8");
  let from = 0;
  while (from < bytes.length) {
    let to = Math.min(bytes.length, from + PART_BYTES_MAX);
    // A byte 10xxxxxx continues a character.
    while (to < bytes.length && ((bytes[to] ?? 0) & 0xc0) === 0x80) to--;
    yield bytes.toString("utf8", from, to);
    from = to;
  }
}

/** `undefined` in a change removes the row. Returns only the buckets that differ. */
export function changedBuckets(
  buckets: ReadonlyMap<number, Bucket>,
  changes: readonly RowChange[],
): Map<number, Bucket> {
  const changed = new Map<number, Map<string, RowChange>>();
  for (const change of changes) {
    const [table, key, value] = change;
    const number = bucketOf(table, key);
    let bucket = changed.get(number);
    if (bucket === undefined) {
      bucket = new Map(buckets.get(number));
      changed.set(number, bucket);
    }
    if (value === undefined) bucket.delete(rowId(table, key));
    else bucket.set(rowId(table, key), change);
  }
  return changed;
}

/** Sorted by number, as keys are listed. */
export const padded = (number: number): string => String(number).padStart(12, "0");

/** Sequence or version that a page's or audit part's name begins with; NaN for what is no name of ours. */
export const numberOf = (name: string): number =>
  Number(/^(\d{12})-/.exec(name)?.[1] ?? Number.NaN);
