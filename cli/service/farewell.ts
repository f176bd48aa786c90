// A host that leaves says so to its config server, by its own certificate. What cannot be told is left to an operator, by name.
import type { ApiError } from "../../agent/api/session.ts";
import { readHostFiles } from "../check/reading/state.ts";
import { exchange } from "../exchange.ts";
import { CommandFailure } from "../failure.ts";
import { dialServer, parseServerUrl } from "../server-connection.ts";

export type Farewell =
  /** This host never joined. */
  | { readonly is: "nobody" }
  | { readonly is: "told"; readonly host: string }
  | { readonly is: "untold"; readonly host: string; readonly why: string };

/** Each server, from connect to answer. */
const ANSWER_MS = 5_000;

export async function sayFarewell(stateDir: string): Promise<Farewell> {
  const files = readHostFiles(stateDir);
  if (files === undefined) return { is: "nobody" };
  if (!files.ok) return { is: "untold", host: "HOST", why: files.error.why };
  const { host, servers, rootsPem, own } = files.value;
  if (own === undefined) return { is: "untold", host, why: "its certificate cannot be read" };
  const reasons: string[] = [];
  for (const server of servers) {
    const refusal = await tell(server, rootsPem, own);
    if (refusal === undefined) return { is: "told", host };
    reasons.push(`${server}: ${refusal}`);
  }
  return { is: "untold", host, why: reasons.join("; ") || "its files name no server" };
}

/** Undefined: it knows. Else why not. */
async function tell(
  server: string,
  roots: string,
  own: { readonly cert: string; readonly key: string },
): Promise<string | undefined> {
  try {
    const url = parseServerUrl(server);
    const socket = await dialServer(url, roots, { timeoutMs: ANSWER_MS, own });
    const request = { method: "DELETE", path: "/v1/self", host: url.host };
    const { status, body } = await exchange(socket, request, ANSWER_MS);
    return status === 200 ? undefined : `${status} ${reasonIn(body)}`;
  } catch (error) {
    if (
      error instanceof CommandFailure ||
      (error instanceof Error && !(error instanceof TypeError))
    )
      return error.message;
    throw error;
  }
}

function reasonIn(body: string): string {
  try {
    const { error } = JSON.parse(body) as Partial<ApiError>;
    return error?.message ?? "without a reason";
  } catch {
    return "without a reason";
  }
}
