// Moves bytes from one array to another.

/** Below this a loop is cheaper than a view, which is an object more for the collector. */
const COPY_BY_HAND_MAX = 128;

export function copy(
  bytes: Uint8Array,
  start: number,
  end: number,
  out: Uint8Array,
  to: number,
): void {
  if (end - start > COPY_BY_HAND_MAX) out.set(bytes.subarray(start, end), to);
  else for (let i = start, at = to; i < end; i++, at++) out[at] = bytes[i] as number;
}
