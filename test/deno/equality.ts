// How bun:test compares: undefined properties count as absent in toEqual.

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null;

const keysOf = (value: Record<string, unknown>): string[] =>
  Object.keys(value).filter((key) => value[key] !== undefined);

export function deepEqual(got: unknown, wanted: unknown): boolean {
  if (Object.is(got, wanted)) return true;
  if (!isObject(got) || !isObject(wanted)) return false;
  if (Array.isArray(got) !== Array.isArray(wanted)) return false;
  if (got instanceof Map && wanted instanceof Map) return deepEqual([...got], [...wanted]);
  if (got instanceof Set && wanted instanceof Set) return deepEqual([...got], [...wanted]);
  const keys = keysOf(got);
  if (keys.length !== keysOf(wanted).length) return false;
  return keys.every((key) => key in wanted && deepEqual(got[key], wanted[key]));
}

/** Whether all that `wanted` names is in `got`. */
export function isSubset(got: unknown, wanted: unknown): boolean {
  if (!isObject(wanted)) return Object.is(got, wanted);
  if (!isObject(got)) return false;
  if (Array.isArray(wanted))
    return (
      Array.isArray(got) &&
      got.length === wanted.length &&
      wanted.every((one, at) => isSubset(got[at], one))
    );
  return Object.keys(wanted).every((key) => isSubset(got[key], wanted[key]));
}
