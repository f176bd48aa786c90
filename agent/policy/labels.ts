// Labels as selectors ask for them.
import type { Labels } from "./snapshot.ts";

/** All that is wanted is there with that value; nothing wanted always holds. */
export function labelsHold(wanted: Labels, given: Labels): boolean {
  for (const name in wanted)
    if (!Object.hasOwn(given, name) || given[name] !== wanted[name]) return false;
  return true;
}
