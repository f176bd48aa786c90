// "Did you mean ...?" for a word nobody knows, from those somebody does.

/** The nearest candidate that a slip of the keyboard could have turned into `word`; undefined if none is near. */
export function suggest(word: string, candidates: readonly string[]): string | undefined {
  const wanted = fold(word);
  if (wanted.length > 64) return undefined;
  let best: string | undefined;
  // Half of a short word, three letters of a long one: `sepc` for `spec`, but not `foo` for `tcp`.
  let bestDistance = Math.min(3, Math.floor(wanted.length / 2)) + 1;
  for (const candidate of candidates) {
    const known = fold(candidate);
    // `retry` for `retries`, `match` for `matches`: one stem, another ending.
    const isStem = wanted.length >= 4 && known.startsWith(wanted.slice(0, -1));
    const distance = isStem ? 1 : editDistance(wanted, known);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** `port_level_mtls` and `portlevelmtls` are the same slip. */
const fold = (word: string): string => word.toLowerCase().replaceAll(/[-_]/g, "");

/** Levenshtein, two rows. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min((previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, substitution));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}
