// Stable virtual addresses: each service has one number, and with it one address in 240.240.0.0/16 and one in 2001:2::/48.
// A service that goes keeps its number reserved for a day, since clients and resolvers may still hold it; if it comes back it
// gets the same one.
import { err, ok, type Result } from "../../agent/base/result.ts";

export const REUSE_AFTER_MS = 86_400_000;
/** 0.0 and 255.255 of the range stay unused: some stacks take them for network and broadcast addresses. */
export const VIRTUAL_ADDRESSES_MAX = 65_534;

export interface Reservation {
  readonly service: string;
  readonly index: number;
  readonly freedAtMs?: number;
}

export interface Allotment {
  readonly indexOf: ReadonlyMap<string, number>;
  /** What differs from before and must be stored with the change that caused it. */
  readonly changed: readonly Reservation[];
}

export const vip4Of = (index: number): string => `240.240.${index >> 8}.${index & 255}`;
export const vip6Of = (index: number): string => `2001:2::${index.toString(16)}`;

/** Pure: the same reservations and services give the same answer. */
export function allot(
  before: readonly Reservation[],
  services: Iterable<string>,
  nowMs: number,
): Result<Allotment, "exhausted"> {
  const wanted = new Set(services);
  const indexOf = new Map<string, number>();
  const changed: Reservation[] = [];
  for (const held of before) {
    if (wanted.has(held.service)) {
      indexOf.set(held.service, held.index);
      if (held.freedAtMs !== undefined) changed.push({ service: held.service, index: held.index });
    } else if (held.freedAtMs === undefined) {
      changed.push({ service: held.service, index: held.index, freedAtMs: nowMs });
    }
  }
  const free = freeIndices(before, wanted, nowMs);
  for (const service of [...wanted].sort()) {
    if (indexOf.has(service)) continue;
    const index = free.next().value;
    if (index === undefined) return err("exhausted");
    indexOf.set(service, index);
    changed.push({ service, index });
  }
  return ok({ indexOf, changed });
}

/** Never used ones first, then the longest free. */
function* freeIndices(
  before: readonly Reservation[],
  wanted: ReadonlySet<string>,
  nowMs: number,
): Generator<number, undefined> {
  let highest = 0;
  for (const { index } of before) highest = Math.max(highest, index);
  while (highest < VIRTUAL_ADDRESSES_MAX) yield ++highest;
  const reusable = before
    .filter(
      ({ service, freedAtMs }) =>
        !wanted.has(service) && freedAtMs !== undefined && nowMs - freedAtMs >= REUSE_AFTER_MS,
    )
    .sort((a, b) => (a.freedAtMs ?? 0) - (b.freedAtMs ?? 0));
  for (const { index } of reusable) yield index;
  return undefined;
}
