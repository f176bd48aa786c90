// VirtualService `rewrite.uriRegexRewrite`: every match in the path is replaced, `\1` being a capture, as Envoy's regex_rewrite
// does with RE2.
import { type Matcher, RE2JS } from "re2js";
import type { Rewrite } from "./snapshot.ts";

type UriRegex = NonNullable<Rewrite["uriRegex"]>;

/** Keyed by the rule itself, so that what a snapshot compiled goes when the snapshot goes. */
const compiled = new WeakMap<UriRegex, RE2JS | "invalid">();

/** `path` is without query. A pattern that is not RE2 leaves it as it is: the parser refuses such a resource before. */
export function rewritePath(rule: UriRegex, path: string): string {
  let pattern = compiled.get(rule);
  if (pattern === undefined) {
    pattern = compile(rule.match) ?? "invalid";
    compiled.set(rule, pattern);
  }
  if (pattern === "invalid") return path;
  const matcher = pattern.matcher(path);
  let text = "";
  let at = 0;
  while (matcher.find()) {
    text += path.slice(at, matcher.start()) + substituted(rule.rewrite, (n) => groupOf(matcher, n));
    at = matcher.end();
  }
  return text + path.slice(at);
}

function compile(pattern: string): RE2JS | undefined {
  try {
    return RE2JS.compile(pattern);
  } catch {
    return undefined;
  }
}

/** RE2's spelling: a backslash and one digit is a capture, two backslashes are one. */
const substituted = (rewrite: string, group: (number: number) => string): string =>
  rewrite.replace(/\\([0-9\\])/g, (_, code: string) =>
    code === "\\" ? code : group(Number(code)),
  );

const groupOf = (matcher: Matcher, number: number): string =>
  number <= matcher.groupCount() ? (matcher.group(number) ?? "") : "";
