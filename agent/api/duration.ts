// Durations as Istio and protobuf's JSON write them ("1.5s"), and as people do ("250ms", "1h30m"), in milliseconds.
import { err, ok, type Result } from "../base/result.ts";

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};
const WHOLE = /^(?:[0-9]+(?:\.[0-9]*)?(?:ns|us|µs|ms|s|m|h))+$/;
const PART = /([0-9]+(?:\.[0-9]*)?)(ns|us|µs|ms|s|m|h)/g;

/** Whatever fits a timer: about 24 days. */
export const DURATION_MAX_MS = 2 ** 31 - 1;

/** Whole milliseconds, rounded; Go's duration syntax without a sign, which is what Kubernetes accepts for Istio's fields. */
export function parseDuration(text: string): Result<number, string> {
  if (text === "0") return ok(0);
  if (text.length > 64 || !WHOLE.test(text))
    return err('must be a duration such as "1.5s", "250ms" or "1h30m"');
  let ms = 0;
  for (const [, count = "", unit = ""] of text.matchAll(PART))
    ms += Number(count) * (UNIT_MS[unit] ?? Number.NaN);
  if (!(ms <= DURATION_MAX_MS)) return err("must be a duration of at most 24 days");
  return ok(Math.round(ms));
}

/** Of a field that parseResource has accepted; anything else is our bug. */
export function durationMs(text: string): number {
  const parsed = parseDuration(text);
  if (!parsed.ok) throw new Error(`duration was not validated: ${parsed.error}`);
  return parsed.value;
}
