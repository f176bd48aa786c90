// Consistent hashing by highest random weight (Thaler and Ravishankar 1998; weights as in Schindelhauer and Schomaker 2005): a key belongs
// to the endpoint whose score for it is highest, so an endpoint that leaves moves its own keys only, and one that comes takes no more
// than its share. A ring or Maglev's table, as Envoy has them, move some keys of the others too. Scores are worked out for PLACES
// places of a table, each when a key first falls into it, and so a pick costs the same whatever the number of endpoints is. All agents
// and threads come to the same answers by themselves: only the endpoints' ids and weights count.

/** Keys are told apart no finer than this. A table is 64 KiB, for each cluster, caller's identity and thread that picks by hash. */
export const PLACES = 16_384;
const UNKNOWN = -1;
const TWO_32 = 2 ** 32;

export interface Candidate {
  readonly id: string;
  readonly weight: number;
}

export class Rendezvous {
  readonly #candidates: readonly Candidate[];
  /** Two hashes of each id: with one, two ids of the same hash would be one. */
  readonly #first: Int32Array;
  readonly #second: Int32Array;
  readonly #isWeighted: boolean;
  /** Made at the first pick. */
  #places: Int32Array | undefined;

  constructor(candidates: readonly Candidate[]) {
    this.#candidates = candidates;
    this.#first = Int32Array.from(candidates, ({ id }) => keyHash(id));
    this.#second = Int32Array.from(candidates, ({ id }) => keyHash(`${id} `));
    this.#isWeighted = candidates.some(({ weight }) => weight !== candidates[0]?.weight);
  }

  /** Others are up than before. */
  forget(): void {
    this.#places?.fill(UNKNOWN);
  }

  /** One of from[0..count), positions of candidates, which are the same ones until forget(). */
  pick(hash: number, from: Int32Array, count: number): number {
    this.#places ??= new Int32Array(PLACES).fill(UNKNOWN);
    const place = placeOf(hash);
    const known = this.#places[place] as number;
    if (known !== UNKNOWN) return known;
    const found = this.pickOnce(hash, from, count);
    this.#places[place] = found;
    return found;
  }

  /** The same for a choice of its own, at a cost that grows with `count`. */
  pickOnce(hash: number, from: Int32Array, count: number): number {
    const place = placeOf(hash);
    let best = from[0] as number;
    let bestScore = Number.NEGATIVE_INFINITY;
    for (let i = 0; i < count; i++) {
      const at = from[i] as number;
      const score = this.#score(place, at);
      if (score <= bestScore) continue;
      best = at;
      bestScore = score;
    }
    return best;
  }

  #score(place: number, at: number): number {
    const mixed = mix(mix(place ^ (this.#first[at] as number)) ^ (this.#second[at] as number));
    if (!this.#isWeighted) return mixed >>> 0;
    const { weight } = this.#candidates[at] as Candidate;
    return weight / -Math.log(((mixed >>> 0) + 0.5) / TWO_32);
  }
}

const placeOf = (hash: number): number => hash & (PLACES - 1);

/** 32 bits of a text; the same on every host. Not secret: who may choose a key may choose its endpoint. */
export function keyHash(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return mix(hash);
}

/** Every bit of the result hangs on every bit of `value` (the end of MurmurHash3). */
function mix(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}
