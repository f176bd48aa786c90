// Which lines differ between two texts, in the words of `diff -u`.

/** Beyond it the whole is shown as removed and added: a person reads no further anyway. */
const LINES_MAX = 2000;
const CONTEXT_LINES = 3;

type Line = readonly [mark: " " | "-" | "+", text: string];

/** Empty if they are equal; each line begins with `-`, `+` or a space, far away equal lines are left out as `...`. */
export function lineDiff(before: string, after: string): string[] {
  if (before === after) return [];
  const lines = align(splitLines(before), splitLines(after));
  return shorten(lines);
}

const splitLines = (text: string): string[] =>
  text === "" ? [] : text.replace(/\n$/, "").split("\n");

function align(a: readonly string[], b: readonly string[]): Line[] {
  if (a.length > LINES_MAX || b.length > LINES_MAX)
    return [...a.map((t): Line => ["-", t]), ...b.map((t): Line => ["+", t])];
  const common = commonLengths(a, b);
  const width = b.length + 1;
  const at = (i: number, j: number): number => common[i * width + j] ?? 0;
  const lines: Line[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    const [left, right] = [a[i], b[j]];
    if (left !== undefined && left === right) {
      lines.push([" ", left]);
      i++;
      j++;
    } else if (right === undefined || (left !== undefined && at(i + 1, j) >= at(i, j + 1))) {
      lines.push(["-", left ?? ""]);
      i++;
    } else {
      lines.push(["+", right]);
      j++;
    }
  }
  return lines;
}

/** Longest common subsequence of every pair of tails. */
function commonLengths(a: readonly string[], b: readonly string[]): Uint16Array {
  const width = b.length + 1;
  const table = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--)
      table[i * width + j] =
        a[i] === b[j]
          ? (table[(i + 1) * width + j + 1] ?? 0) + 1
          : Math.max(table[(i + 1) * width + j] ?? 0, table[i * width + j + 1] ?? 0);
  return table;
}

function shorten(lines: readonly Line[]): string[] {
  const isNear = lines.map((_, i) =>
    lines
      .slice(Math.max(0, i - CONTEXT_LINES), i + CONTEXT_LINES + 1)
      .some(([mark]) => mark !== " "),
  );
  return lines.flatMap(([mark, text], i) => {
    if (isNear[i]) return [`${mark} ${text}`];
    return isNear[i - 1] || i === 0 ? ["..."] : [];
  });
}
