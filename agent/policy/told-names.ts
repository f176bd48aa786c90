// What the threads of an agent tell each other of host names that endpoints have: one looks them up, the main thread keeps the last good
// answer, all dial what it says.

export type NameNews =
  | {
      readonly is: "answered";
      readonly name: string;
      /** IPv4 first, each family in its answer's order; none: there are none. */
      readonly addresses: readonly string[];
      /** Left out, each with why. */
      readonly refused: readonly string[];
      readonly ttlSeconds: number;
      readonly resolver: string;
    }
  | { readonly is: "failed"; readonly name: string; readonly reason: string }
  /** Nobody uses it any more. */
  | { readonly is: "unused"; readonly name: string };

/** Of one name, as all threads are told. */
export interface ToldName {
  readonly name: string;
  /** By place: an address keeps its place, and so its counters, from answer to answer. Undefined: the name is not looked up any more. */
  readonly places: readonly (string | undefined)[] | undefined;
  /** What a logical name stands for. */
  readonly first: string | undefined;
}
