// One config server, asked as this host would ask it: TLS under the roots it believes, then who the server takes it for. Also tells
// how far its clock is from ours.
import type { ApiError, SelfResponse } from "../../../agent/api/session.ts";
import { exchange } from "../../exchange.ts";
import { CommandFailure } from "../../failure.ts";
import { dialServer, parseServerUrl, ServerNotTrusted } from "../../server-connection.ts";

export interface ServerFacts {
  readonly url: string;
  /** Undefined: it could not be reached. */
  readonly outcome:
    | { readonly is: "unreachable"; readonly why: string }
    /** Nothing was sent to it. `validFromMs`, `validToMs`: of its certificate, where time is what is wrong. */
    | {
        readonly is: "not_trusted";
        readonly why: string;
        readonly validMs: readonly [from: number, to: number] | undefined;
      }
    /** It is the mesh's server; `refusal`: and does not take this host for a member. */
    | {
        readonly is: "answered";
        readonly self: SelfResponse | undefined;
        readonly refusal: string | undefined;
        /** Its clock minus ours; `withinMs` is how wrong that may be. Undefined: it said nothing of its time. */
        readonly clock: { readonly aheadMs: number; readonly withinMs: number } | undefined;
      };
}

export interface AskServer {
  readonly url: string;
  /** PEM. */
  readonly roots: string;
  /** Undefined: not a member yet, or its key may not be read. */
  readonly own: { readonly cert: string; readonly key: string } | undefined;
}

export async function readServer(
  { url: text, roots, own }: AskServer,
  { nowMs, timeoutMs }: { readonly nowMs: () => number; readonly timeoutMs: number },
): Promise<ServerFacts> {
  try {
    const url = parseServerUrl(text);
    const socket = await dialServer(url, roots, {
      timeoutMs,
      ...(own === undefined ? {} : { own }),
    });
    const request = { method: "GET", path: "/v1/self", host: url.host };
    const begunMs = nowMs();
    const { status, body, date } = await exchange(socket, request, timeoutMs);
    const halfMs = (nowMs() - begunMs) / 2;
    const value: unknown = JSON.parse(body);
    const self = status === 200 ? (value as SelfResponse) : undefined; // proven to be our server; api/session.ts says the shape
    const { error } = (value ?? {}) as Partial<ApiError>;
    const refusal =
      self === undefined ? `${status}: ${error?.message ?? "no reason given"}` : undefined;
    const clock = clockOf(self, date, begunMs + halfMs, halfMs);
    return { url: text, outcome: { is: "answered", self, refusal, clock } };
  } catch (error) {
    if (error instanceof ServerNotTrusted)
      return { url: text, outcome: { is: "not_trusted", why: error.why, validMs: error.validMs } };
    if (error instanceof TypeError) throw error;
    const why =
      error instanceof CommandFailure || error instanceof Error ? error.message : "failed";
    return { url: text, outcome: { is: "unreachable", why } };
  }
}

/** A Date header (RFC 9110 6.6.1) has whole seconds, cut off. */
function clockOf(
  self: SelfResponse | undefined,
  date: string | undefined,
  middleMs: number,
  halfMs: number,
) {
  if (self !== undefined) return { aheadMs: self.wallMs - middleMs, withinMs: halfMs };
  const dateMs = Date.parse(date ?? "");
  if (Number.isNaN(dateMs)) return undefined;
  return { aheadMs: dateMs + 500 - middleMs, withinMs: 500 + halfMs };
}
