// Problems as people read them: one line each, where first.
import type { Problem } from "../base/result.ts";

/** `mesh.yaml:12: error: document 2, VirtualService default/reviews: spec.http[0].mirrors is not supported yet` */
export function problemText({ place, document, path, reason, severity }: Problem): string {
  const where = [place, severity, document].filter((part) => part !== undefined);
  return [...where, path === "" ? reason : `${path} ${reason}`].join(": ");
}
