// VirtualService `rewrite`, as Istio defines it: a uri replaces the matched prefix, or the whole path of another match.
import { bytesOf } from "../base/bytes.ts";
import { rewritePath } from "../policy/rewrite-path.ts";
import type { HttpMatch, Rewrite } from "../policy/snapshot.ts";
import type { RequestRewrite } from "../protocol/http1/edit.ts";
import type { RequestHead } from "../protocol/http1/head.ts";

/** `plan.matches` are the route's: which of them took the request decides what is replaced. */
export function rewriteOf(
  rewrite: Rewrite,
  plan: { readonly matches: readonly HttpMatch[] },
  head: RequestHead,
): RequestRewrite {
  const target = targetOf(rewrite, plan.matches, head);
  return {
    target: target === undefined ? undefined : bytesOf(target),
    authority: rewrite.authority === undefined ? undefined : bytesOf(rewrite.authority),
  };
}

function targetOf(
  rewrite: Rewrite,
  matches: readonly HttpMatch[],
  head: RequestHead,
): string | undefined {
  // Whatever a resource says, a space, a line end or a fragment must not get into the request line.
  const { uri, uriRegex } = rewrite;
  if (uri === undefined && uriRegex === undefined) return undefined;
  const query = head.queryEnd > head.queryStart ? `?${head.query}` : "";
  const path =
    uriRegex === undefined
      ? replacePath(uri ?? "/", matches, head.path)
      : rooted(rewritePath(uriRegex, head.path));
  return `${path}${query}`.toWellFormed().replace(/[^\x21-\x7e]|#/gu, encodeURIComponent);
}

function replacePath(uri: string, matches: readonly HttpMatch[], path: string): string {
  for (const match of matches) {
    if (match.uri?.is !== "prefix") continue;
    const begins = match.ignoreUriCase
      ? path.toLowerCase().startsWith(match.uri.value.toLowerCase())
      : path.startsWith(match.uri.value);
    if (begins) return rooted(uri + path.slice(match.uri.value.length));
  }
  // A route without uri matches takes every path: Istio replaces the prefix "/".
  if (matches.every((match) => match.uri === undefined)) return rooted(uri + path.slice(1));
  return rooted(uri);
}

const rooted = (path: string): string => (path.startsWith("/") ? path : `/${path}`);
