// YAML text, one or many documents, to resources; every problem of every document with its file and line. JSON is YAML.
import {
  type Document,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
} from "yaml";
import type { Problem } from "../base/result.ts";
import { checkResource, type FieldPath } from "./parse-resource.ts";
import { refOf, titleOf } from "./resource.ts";
import type { ResourceDocument } from "./session.ts";

export const TEXT_LENGTH_MAX = 16 * 1024 * 1024;
export const DOCUMENTS_MAX = 20_000;

export interface ReadResources {
  /** Those without errors, in the order they stand. */
  readonly resources: readonly ResourceDocument[];
  readonly problems: readonly Problem[];
  /** Where each resource's fields stand, by titleOf; see locateProblem. */
  readonly places: Places;
}
export type Places = ReadonlyMap<string, (path: FieldPath) => string>;

/** Reads what people write. `file` is what problems are told to be in: a path, or `stdin`. */
export function readResources(text: string, file: string): ReadResources {
  const refused = (reason: string, line = 1): ReadResources => ({
    resources: [],
    problems: [{ place: `${file}:${line}`, path: "", reason, severity: "error" }],
    places: new Map(),
  });
  if (text.length > TEXT_LENGTH_MAX)
    return refused(`is too large: more than ${TEXT_LENGTH_MAX} characters`);
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false });
  if (!Array.isArray(documents)) return NOTHING; // Only comments: the parser's own empty stream.
  if (documents.length > DOCUMENTS_MAX) return refused(`has more than ${DOCUMENTS_MAX} documents`);

  const resources: ResourceDocument[] = [];
  const problems: Problem[] = [];
  const places = new Map<string, (path: FieldPath) => string>();
  documents.forEach((document, i) => {
    const placeOf = (offset: number): string => `${file}:${lines.linePos(offset).line}`;
    const read = readDocument(document, placeOf);
    resources.push(...read.resources);
    problems.push(...read.problems.map((p) => named(p, i)).sort(byLine));
    for (const [title, at] of read.places) places.set(title, at);
  });
  problems.push(...findTwice(resources, file));
  return { resources, problems, places };
}

const NOTHING: ReadResources = { resources: [], problems: [], places: new Map() };

/** Gives a problem that a server found in these resources the file and line it stands in; others stay as they are. */
export function locateProblem(problem: Problem, places: Places): Problem {
  const at = problem.place === undefined ? places.get(problem.document ?? "") : undefined;
  return at === undefined ? problem : { ...problem, place: at(pathOfText(problem.path)) };
}

/** The other way round than pathText. */
const pathOfText = (text: string): FieldPath =>
  [...text.matchAll(/\[([0-9]+)\]|\["([^"]*)"\]|([^.[\]]+)/g)].map(([, index, key, name]) =>
    index === undefined ? (key ?? name ?? "") : Number(index),
  );

function readDocument(document: Document, placeOf: (offset: number) => string): ReadResources {
  const broken = (offset: number, reason: string): Problem => ({
    place: placeOf(offset),
    path: "",
    reason,
    severity: "error",
  });
  if (document.errors.length > 0) {
    const problems = document.errors.map((e) => broken(e.pos[0], `is not YAML: ${e.message}`));
    return { ...NOTHING, problems };
  }
  const { contents } = document;
  if (contents === null) return NOTHING;
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { ...NOTHING, problems: [broken(contents.range?.[0] ?? 0, reason)] };
  }
  if (value === null) return NOTHING;
  const checked = itemsOf(value).map(([item, path]) => {
    const at = (inner: FieldPath) => placeOf(offsetOf(contents, [...path, ...inner]));
    return { ...checkResource(item, at), at };
  });
  const accepted = checked.flatMap(({ resource, at }) =>
    resource === undefined ? [] : [{ resource, at }],
  );
  return {
    resources: accepted.map(({ resource }) => resource),
    problems: checked.flatMap(({ problems }) => problems),
    places: new Map(accepted.map(({ resource, at }) => [titleOf(resource), at])),
  };
}

/** A `v1 List`, which `kubectl get -o yaml` and `meshctl get -o json` print, is what it holds. */
function itemsOf(value: unknown): (readonly [item: unknown, path: FieldPath])[] {
  if (typeof value === "object" && value !== null && "kind" in value && "items" in value) {
    const { kind, items } = value;
    if (kind === "List" && Array.isArray(items))
      return items.map((item: unknown, i) => [item, ["items", i]]);
  }
  return [[value, []]];
}

const named = (problem: Problem, index: number): Problem => ({
  ...problem,
  document: `document ${index + 1}${problem.document === undefined ? "" : `, ${problem.document}`}`,
});

const lineOf = (problem: Problem): number => Number(/:([0-9]+)$/.exec(problem.place ?? "")?.[1]);
const byLine = (a: Problem, b: Problem): number => lineOf(a) - lineOf(b);

/** Where the last part of a path that exists stands: the key of a mapping, the item of a list. */
function offsetOf(contents: Node, path: FieldPath): number {
  let node: unknown = contents;
  let offset = contents.range?.[0] ?? 0;
  for (const part of path) {
    const found = childOf(node, part);
    if (found === undefined) break;
    offset = found.offset ?? offset;
    node = found.node;
  }
  return offset;
}

function childOf(
  parent: unknown,
  part: PropertyKey,
): { node: unknown; offset: number | undefined } | undefined {
  if (isMap(parent)) {
    const pair = parent.items.find((p) => isScalar(p.key) && String(p.key.value) === String(part));
    return pair && isScalar(pair.key)
      ? { node: pair.value, offset: pair.key.range?.[0] }
      : undefined;
  }
  if (!isSeq(parent)) return undefined;
  const item: unknown = parent.items[Number(part)];
  return isNode(item) ? { node: item, offset: item.range?.[0] } : undefined;
}

/** Resources that stand twice: the second would silently win. */
export function findTwice(resources: readonly ResourceDocument[], file: string): Problem[] {
  const seen = new Set<string>();
  return resources.flatMap((resource): Problem[] => {
    const ref = refOf(resource);
    if (!seen.has(ref)) {
      seen.add(ref);
      return [];
    }
    const reason = `${resource.kind} ${resource.metadata.namespace}/${resource.metadata.name} stands twice`;
    return [{ place: file, path: "metadata.name", reason, severity: "error" }];
  });
}
