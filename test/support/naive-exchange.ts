// What a proxy may make of a request or response, told a second time from RFC 9110 and 9112 with strings: which messages lie in a stream,
// and what of each goes on to the next hop. Shares nothing with the codec. Only for tests.
import { dechunkNaively, type NaiveMessage, readNaively, valuesOf } from "./naive-http1.ts";

type Fields = readonly (readonly [name: string, value: string])[];

export interface NaiveTaken {
  readonly line: NaiveMessage["line"];
  readonly fields: Fields;
  /** The body as it lies in the stream, chunk framing and all. */
  readonly body: string;
  /** What the body carries. */
  readonly content: string;
  /** False: the stream ends, or turns invalid, before the message does; body is what is there. */
  readonly isWhole: boolean;
  readonly rest: string;
}

/** Takes the first message off; undefined: there is no whole, valid head. `asked`: of a response, the request's method. */
export function takeMessage(
  text: string,
  kind: "request" | "response",
  asked = "",
): NaiveTaken | undefined {
  const skipped = kind === "request" && text.startsWith("\r\n") ? text.slice(2) : text;
  const read = readNaively(skipped, kind);
  if (read === undefined) return undefined;
  const { line, fields, rest } = read;
  const isBodiless = asked === "HEAD" || /^(1..|204|304)$/.test(line[1]);
  const { body, content, isWhole } =
    kind === "response" && isBodiless ? NO_BODY : bodyOf(read, kind === "request");
  return { line, fields, body, content, isWhole, rest: rest.slice(body.length) };
}

type Body = Pick<NaiveTaken, "body" | "content" | "isWhole">;
const NO_BODY: Body = { body: "", content: "", isWhole: true };

function bodyOf(read: NaiveMessage, isRequest: boolean): Body {
  const { rest } = read;
  const codings = valuesOf(read, "transfer-encoding");
  const lengths = valuesOf(read, "content-length");
  if (codings.length + lengths.length > 1) return { body: rest, content: "", isWhole: false };
  if (codings.length === 1) {
    const chunks = codings[0]?.toLowerCase() === "chunked" ? dechunkNaively(rest) : undefined;
    if (chunks === undefined) return { body: rest, content: contentSoFar(rest), isWhole: false };
    const body = rest.slice(0, rest.length - chunks.rest.length);
    return { body, content: chunks.content, isWhole: true };
  }
  if (lengths.length === 0)
    return isRequest ? NO_BODY : { body: rest, content: rest, isWhole: true };
  const length = /^[0-9]+$/.test(lengths[0] ?? "") ? Number(lengths[0]) : Number.NaN;
  const body = length <= rest.length ? rest.slice(0, length) : rest;
  return { body, content: body, isWhole: length <= rest.length };
}

/** Of chunks that end, or turn invalid, too early. */
function contentSoFar(text: string): string {
  let content = "";
  let left = text;
  for (;;) {
    const size = /^([0-9a-f]{1,12})(;[^\r\n]*)?\r\n/i.exec(left);
    const length = Number.parseInt(size?.[1] ?? "0", 16);
    if (size === null || length === 0) return content;
    left = left.slice(size[0].length);
    content += left.slice(0, length);
    if (left.slice(length, length + 2) !== "\r\n") return content;
    left = left.slice(length + 2);
  }
}

const listOf = (values: readonly string[]): string[] =>
  values.flatMap((value) => value.toLowerCase().split(",")).map((one) => one.trim());

/** Fields of a message that are not for its hop alone (RFC 9110 7.6.1), Upgrade and TE aside. */
export function endToEnd(fields: Fields): string[] {
  const named = listOf(fields.filter(([name]) => name === "connection").map(([, value]) => value));
  const gone = new Set([...named, "connection", "keep-alive", "proxy-connection", "te", "upgrade"]);
  return fields.filter(([name]) => !gone.has(name)).map(([name, value]) => `${name}=${value}`);
}

/** Does the request ask for a tunnel that it may have. */
export function asksForTunnel({ line, fields }: NaiveTaken): boolean {
  const of = (name: string): string[] =>
    listOf(fields.filter(([n]) => n === name).map(([, v]) => v));
  const offers = of("upgrade");
  const isHttp = offers.some((offer) => /^(h2c?|http(\/.*)?)$/.test(offer));
  return (
    line[2] === "HTTP/1.1" && of("connection").includes("upgrade") && offers.length > 0 && !isHttp
  );
}

/** Istio's pathNormalization BASE, and origin-form of absolute-form. */
export function normalizedTarget(method: string, target: string): string {
  const authority = /^http:\/\/[^/\\?]*/i.exec(target)?.[0];
  let rest = authority === undefined ? target : target.slice(authority.length);
  if (authority !== undefined && rest === "" && method === "OPTIONS") return "*";
  if (authority !== undefined && !/^[/\\]/.test(rest)) rest = `/${rest}`;
  if (rest === "*") return rest;
  const at = rest.indexOf("?");
  const [path, query] = at < 0 ? [rest, ""] : [rest.slice(0, at), rest.slice(at)];
  const plain = path
    .replace(/%([0-9a-f]{2})/gi, (all, hex: string) => {
      const char = String.fromCharCode(Number.parseInt(hex, 16));
      return /[A-Za-z0-9._~-]/.test(char) ? char : all;
    })
    .replaceAll("\\", "/");
  const kept: string[] = [];
  const segments = plain.split("/").slice(1);
  segments.forEach((segment, i) => {
    const isLast = i === segments.length - 1;
    if (segment === "..") kept.pop();
    if (segment !== "." && segment !== "..") kept.push(segment);
    else if (isLast) kept.push("");
  });
  return `/${kept.join("/")}${query}`;
}
