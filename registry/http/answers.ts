// Answers that are not 2xx, all of one shape, and bodies parsed at the door.
import type { Context } from "hono";
import { bodyLimit } from "hono/body-limit";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type * as z from "zod";
import type { ApiError } from "../../agent/api/session.ts";
import { err, ok, type Problem, type Result } from "../../agent/base/result.ts";

/** Join, certificates, tokens; an operator's apply has OPERATOR_BODY_BYTES_MAX. */
export const BODY_BYTES_MAX = 1_048_576;

export function refuse(
  c: Context,
  status: ContentfulStatusCode,
  code: string,
  message: string,
  more: { readonly next?: string; readonly problems?: readonly Problem[] } = {},
): Response {
  return c.json({ error: { code, message, ...more } } satisfies ApiError, status);
}

export const bounded = (bytesMax: number) =>
  bodyLimit({
    maxSize: bytesMax,
    onError: (c) =>
      refuse(c, 413, "body_too_large", `the body is larger than ${bytesMax} bytes`, {
        next: "split it into several requests",
      }),
  });

export async function readBody<T>(c: Context, schema: z.ZodType<T>): Promise<Result<T, Response>> {
  let value: unknown;
  try {
    value = await c.req.json();
  } catch {
    return err(refuse(c, 400, "not_json", "the body is not JSON"));
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return ok(parsed.data);
  const problems = parsed.error.issues.slice(0, 20).map((issue) => ({
    path: issue.path.map(String).join("."),
    reason: issue.message,
    severity: "error" as const,
  }));
  return err(
    refuse(c, 400, "invalid_body", "the body is not what this request takes", { problems }),
  );
}
