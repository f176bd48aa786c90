// Single requests to the config server over HTTPS: bounded in time and size, refusals as values.
import type { ApiError } from "../api/session.ts";
import { err, ok, type Result } from "../base/result.ts";
import type { ServerTlsOptions } from "./server-tls.ts";

export const REQUEST_TIMEOUT_MS = 10_000;
export const ANSWER_BYTES_MAX = 4_194_304;

export type RequestFailure =
  /** The server answered and said no; see ApiError. */
  | {
      readonly is: "refused";
      readonly status: number;
      readonly code: string;
      readonly message: string;
      readonly next?: string;
    }
  /** No answer that counts: connect, TLS, timeout, or not of the form agreed on. */
  | { readonly is: "unreachable"; readonly reason: string };

export interface ServerClient {
  post(path: string, body: unknown): Promise<Result<unknown, RequestFailure>>;
}

/** Tries the servers in turn; a refusal is final, silence is not. */
export class HttpsServerClient implements ServerClient {
  readonly #servers: readonly string[];
  readonly #tls: () => ServerTlsOptions;

  constructor(config: { servers: readonly string[] }, deps: { tls(): ServerTlsOptions }) {
    this.#servers = config.servers;
    this.#tls = deps.tls;
  }

  async post(path: string, body: unknown): Promise<Result<unknown, RequestFailure>> {
    const reasons: string[] = [];
    for (const server of this.#servers) {
      const answer = await postJson(new URL(path, server), body, this.#tls());
      if (answer.ok || answer.error.is === "refused") return answer;
      reasons.push(`${server}: ${answer.error.reason}`);
    }
    return err({ is: "unreachable", reason: reasons.join("; ") });
  }
}

export async function postJson(
  url: URL,
  body: unknown,
  tls: ServerTlsOptions,
): Promise<Result<unknown, RequestFailure>> {
  const { request } = await import("node:https"); // Renewals are rare: an agent's start does not pay for it.
  const text = JSON.stringify(body);
  return new Promise((resolve) => {
    const fail = (reason: string): void => resolve(err({ is: "unreachable", reason }));
    const sent = request(
      url,
      {
        ...tls,
        method: "POST",
        agent: false,
        headers: { "content-type": "application/json", "content-length": Buffer.byteLength(text) },
      },
      (answer) => {
        const parts: Buffer[] = [];
        let bytes = 0;
        answer.on("data", (part: Buffer) => {
          bytes += part.length;
          if (bytes > ANSWER_BYTES_MAX) {
            sent.destroy();
            fail(`the answer is larger than ${ANSWER_BYTES_MAX} bytes`);
          } else parts.push(part);
        });
        answer.on("end", () => resolve(readAnswer(answer.statusCode ?? 0, Buffer.concat(parts))));
        answer.on("error", (error) => fail(error.message));
      },
    );
    const deadline = setTimeout(() => {
      sent.destroy();
      fail(`no answer within ${REQUEST_TIMEOUT_MS} ms`);
    }, REQUEST_TIMEOUT_MS);
    sent.on("close", () => clearTimeout(deadline));
    sent.on("error", (error: NodeJS.ErrnoException) =>
      fail(error.message || error.code || "failed"),
    );
    sent.end(text);
  });
}

function readAnswer(status: number, bytes: Buffer): Result<unknown, RequestFailure> {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString("utf8"));
  } catch {
    return err({
      is: "unreachable",
      reason: `status ${status} with a body that is not JSON: is this a config server?`,
    });
  }
  if (status >= 200 && status < 300) return ok(value);
  const error = (value as Partial<ApiError> | null)?.error;
  if (status >= 500 || error === undefined)
    return err({ is: "unreachable", reason: `status ${status}` });
  const { code, message, next } = error;
  return err({
    is: "refused",
    status,
    code: String(code),
    message: String(message),
    ...(next === undefined ? {} : { next }),
  });
}
