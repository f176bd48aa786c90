// Carries out what an explanation offers, on the resource as a person wrote it.
import type { PolicyChange } from "../../agent/api/explain.ts";

type Node = Record<string | number, unknown>;

/** A copy of `resource` with the change in it. */
export function edited(resource: object, { path, edit, value }: PolicyChange): object {
  const copy = structuredClone(resource) as Node;
  const steps = [...path.matchAll(/([A-Za-z]+)|\[(\d+)\]|\["([^"]+)"\]/g)].map(
    ([, field, index, key]) => (index === undefined ? (field ?? key ?? "") : Number(index)),
  );
  const last = steps.pop();
  if (last === undefined) throw new Error(`no path in ${JSON.stringify(path)}`);
  let at = copy;
  for (const [i, step] of steps.entries()) {
    at[step] ??= typeof (steps[i + 1] ?? last) === "number" ? [] : {};
    at = at[step] as Node;
  }
  if (edit === "add") at[last] = [...((at[last] as unknown[] | undefined) ?? []), value];
  else at[last] = value;
  return copy;
}
