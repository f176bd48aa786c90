// A second reader of HTTP/1.1, written from RFC 9112 with strings and regular expressions, as unlike the codec as can be: what the codec
// forwards must mean the same to it. Only for tests.

export interface NaiveMessage {
  /** The three parts of the start line. */
  readonly line: readonly [string, string, string];
  /** Names lower case, in order. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  readonly rest: string;
}

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const FIELD = new RegExp(`^(${TOKEN}):[ \\t]*([\\t\\x20-\\x7e\\x80-\\xff]*?)[ \\t]*$`);
const REQUEST_LINE = /^([!#$%&'*+.^_`|~0-9A-Z-]+) ([\x21\x22\x24-\x7e]+) (HTTP\/1\.[01])$/;
const STATUS_LINE = /^(HTTP\/1\.[01]) ([1-5][0-9][0-9]) ([\t\x20-\x7e\x80-\xff]*)$/;

export const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
export const bytesOfLatin1 = (text: string): Uint8Array =>
  new Uint8Array(Buffer.from(text, "latin1"));

/** Undefined for whatever is not a whole, valid head. */
export function readNaively(text: string, kind: "request" | "response"): NaiveMessage | undefined {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const [first = "", ...lines] = text.slice(0, end).split("\r\n");
  const found = (kind === "request" ? REQUEST_LINE : STATUS_LINE).exec(first);
  if (found === null) return undefined;
  const fields: [string, string][] = [];
  for (const line of lines) {
    const field = FIELD.exec(line);
    if (field === null) return undefined;
    fields.push([(field[1] ?? "").toLowerCase(), field[2] ?? ""]);
  }
  return {
    line: [found[1] ?? "", found[2] ?? "", found[3] ?? ""],
    fields,
    rest: text.slice(end + 4),
  };
}

export const valuesOf = (message: NaiveMessage, name: string): string[] =>
  message.fields.filter(([n]) => n === name).map(([, value]) => value);

/** Splits a chunked body off: content, trailers, what follows. Undefined: invalid or cut short. */
export function dechunkNaively(
  text: string,
): { content: string; trailers: string[]; rest: string } | undefined {
  let content = "";
  let left = text;
  for (;;) {
    const size = /^([0-9a-fA-F]{1,12})(;[\t\x20-\x7e\x80-\xff]{0,255})?\r\n/.exec(left);
    if (size === null) return undefined;
    left = left.slice(size[0].length);
    const length = Number.parseInt(size[1] ?? "", 16);
    if (length === 0) break;
    if (left.slice(length, length + 2) !== "\r\n") return undefined;
    content += left.slice(0, length);
    left = left.slice(length + 2);
  }
  const trailers: string[] = [];
  for (;;) {
    const end = left.indexOf("\r\n");
    if (end < 0) return undefined;
    const line = left.slice(0, end);
    left = left.slice(end + 2);
    if (line === "") return { content, trailers, rest: left };
    if (!FIELD.test(line)) return undefined;
    trailers.push(line);
  }
}
