// The Huffman code of HPACK, RFC 7541 appendix B. The code is canonical: its lengths alone say all of it. Decoding goes by half bytes
// through a table of states; no symbol is shorter than five bits, so half a byte ends at most one.

/** Bits of each symbol's code, as `length x count` runs over symbols 0 to 255; EOS has 30. */
const LENGTHS = `13 23 28x7 24 30 28x2 30 28x8 30 28x9 6 10x2 12 13 6 8 11 10x2 8 11 8 6x3 5x3 6x7 7 8 15 6 12 10 13 6 7x22 8 7 8 13 19 13 14 6
15 5 6 5 6 5 6x3 5 7x2 6x3 5 6 7 6 5x2 6 7x5 15 11 14 13 28 20 22 20x2 22x3 23 22 23x5 24 23 24x2 22 23 24 23x4 21 22 23 22 23x2 24 22 21 20
22x2 23x2 21 23 22x2 24 21 22 23x2 21x2 22 21 23 22 23x2 20 22x3 23 22x2 23 26x2 20 19 22 23 22 25 26x3 27x2 26 24 25 19 21 26 27x2 26 27 24
21x2 26x2 28 27x3 20 24 20 21 22 21x2 23 22x2 25x2 24x2 26 23 26 27 26x2 27x5 28 27x5 26`;
const EOS_BITS = 30;
const SYMBOLS = 256;
const EOS = 256;

/** In an entry of the table. */
const NEXT_BITS = 9;
const HAS_SYMBOL = 1 << NEXT_BITS;
const SYMBOL_AT = NEXT_BITS + 1;
/** EOS within a string, RFC 7541 5.2. */
const DEAD = -1;

interface Table {
  /** [state * 16 + half a byte]: next state, and the symbol that ended. */
  readonly moves: Int32Array;
  /** States in which a string may end: at most seven bits, all ones, since the last symbol. */
  readonly mayEnd: Uint8Array;
}

let table: Table | undefined;

/** Bits of the code of each symbol, EOS last. */
export function codeLengths(): number[] {
  const lengths = LENGTHS.split(/\s+/).flatMap((run) => {
    const [length = 0, count = 1] = run.split("x").map(Number);
    return new Array<number>(count).fill(length);
  });
  return [...lengths, EOS_BITS];
}

/** Codes count upwards within a length, in order of symbols, and go on a bit longer at the next length. */
function buildTree(): { left: number[]; right: number[] } {
  const lengths = codeLengths();
  const left = [0];
  const right = [0];
  let code = 0;
  for (let bits = 1; bits <= EOS_BITS; bits++) {
    for (let symbol = 0; symbol <= SYMBOLS; symbol++) {
      if (lengths[symbol] === bits) plant(left, right, code++, bits, symbol);
    }
    code *= 2;
  }
  return { left, right };
}

/** Leaves are stored as -1 - symbol. */
function plant(left: number[], right: number[], code: number, bits: number, symbol: number): void {
  let node = 0;
  for (let bit = bits - 1; bit >= 0; bit--) {
    const side = Math.floor(code / 2 ** bit) % 2 === 1 ? right : left;
    if (bit === 0) side[node] = -1 - symbol;
    else if (side[node] === 0) {
      left.push(0);
      right.push(0);
      side[node] = left.length - 1;
    }
    node = side[node] as number;
  }
}

/** States are the tree's inner nodes. */
function buildTable(): Table {
  const { left, right } = buildTree();
  const moves = new Int32Array(left.length * 16);
  for (let state = 0; state < left.length; state++) {
    for (let half = 0; half < 16; half++) {
      moves[state * 16 + half] = moveFrom(left, right, state, half);
    }
  }
  const mayEnd = new Uint8Array(left.length);
  for (let node = 0, bits = 0; bits < 8; bits++) {
    mayEnd[node] = 1;
    node = right[node] as number;
  }
  return { moves, mayEnd };
}

function moveFrom(left: number[], right: number[], state: number, half: number): number {
  let node = state;
  let symbol = 0;
  for (let bit = 3; bit >= 0; bit--) {
    node = ((half >> bit) & 1 ? right[node] : left[node]) as number;
    if (node >= 0) continue;
    if (-1 - node === EOS) return DEAD;
    symbol = HAS_SYMBOL | ((-1 - node) << SYMBOL_AT);
    node = 0;
  }
  return symbol | node;
}

/** Decodes bytes[start..end) to `out` from `to` on, at most to its end. Returns where it ended; -1: not Huffman; -2: well, but
 *  there is no room for it. */
export function decodeHuffman(
  bytes: Uint8Array,
  start: number,
  end: number,
  out: Uint8Array,
  to: number,
): number {
  table ??= buildTable();
  const { moves, mayEnd } = table;
  const limit = out.length;
  let hasRoom = true;
  let state = 0;
  let at = to;
  for (let p = start; p < end; p++) {
    const byte = bytes[p] as number;
    for (let half = byte >> 4, turn = 0; turn < 2; half = byte & 15, turn++) {
      const move = moves[state * 16 + half] as number;
      if (move < 0) return -1;
      state = move & (HAS_SYMBOL - 1);
      if ((move & HAS_SYMBOL) === 0) continue;
      if (at < limit) out[at++] = move >> SYMBOL_AT;
      else hasRoom = false;
    }
  }
  if (mayEnd[state] !== 1) return -1;
  return hasRoom ? at : -2;
}
