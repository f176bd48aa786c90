// Errors as values, for what other people got wrong (STYLE, "Errors"). Bugs throw, see assert.ts.

export type Ok<T> = { readonly ok: true; readonly value: T };
export type Err<E> = { readonly ok: false; readonly error: E };
export type Result<T, E> = Ok<T> | Err<E>;

export const ok = <T>(value: T): Ok<T> => ({ ok: true, value });
export const err = <E>(error: E): Err<E> => ({ ok: false, error });

/** One thing wrong in what a person wrote: where, what, and what to do next. */
export interface Problem {
  /** File and line when known, e.g. `mesh.yaml:12`. */
  readonly place?: string;
  /** Which resource, e.g. `VirtualService default/reviews`. */
  readonly document?: string;
  /** Field path inside the document, e.g. `spec.http[0].route[1].weight`. */
  readonly path: string;
  readonly reason: string;
  /** `warning` is told and carried on with; `error` refuses the whole. */
  readonly severity: "error" | "warning";
}
