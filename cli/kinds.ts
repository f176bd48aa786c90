// Kinds as people type them: `vs`, `virtualservice`, `VirtualServices`, `reviews` after them.
import { KIND_NAMES, KINDS, type Kind } from "../agent/api/resource.ts";
import { suggest } from "../agent/api/suggest.ts";
import { usage } from "./failure.ts";

const wordsOf = (kind: Kind): string[] => [
  kind.toLowerCase(),
  KINDS[kind].plural,
  ...KINDS[kind].shortNames,
];

export function parseKind(word: string): Kind {
  const wanted = word.toLowerCase();
  const kind = KIND_NAMES.find((name) => wordsOf(name).includes(wanted));
  if (kind !== undefined) return kind;
  const near = suggest(wanted, KIND_NAMES.flatMap(wordsOf));
  throw usage(
    `${JSON.stringify(word)} is no kind of resource${near === undefined ? "" : `; did you mean ${near}?`}`,
    `known are ${KIND_NAMES.map((name) => KINDS[name].plural).join(", ")}`,
  );
}

/** Every word that `get` and `delete` take, for completion. */
export const KIND_WORDS: readonly string[] = [
  "all",
  ...KIND_NAMES.map((name) => KINDS[name].plural),
];

/** `vs reviews`, `vs/reviews` or `vs`: as kubectl takes them. */
export function parseTarget(
  first: string,
  second: string | undefined,
): { readonly kind: Kind; readonly name: string | undefined } {
  const slash = first.indexOf("/");
  if (slash < 0) return { kind: parseKind(first), name: second };
  if (second !== undefined) throw usage(`give KIND NAME or KIND/NAME, not both`);
  return { kind: parseKind(first.slice(0, slash)), name: first.slice(slash + 1) };
}
