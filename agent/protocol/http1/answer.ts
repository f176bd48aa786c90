// Responses of our own: refusals, redirects, direct responses. Whole, small, with Content-Length. RFC 9110 15.
import { bytesOf, concat } from "../../base/bytes.ts";

export interface Answer {
  readonly status: number;
  readonly body?: string;
  /** Default text/plain. */
  readonly contentType?: string;
  /** Further fields, names lower case; values must be valid field values. */
  readonly fields?: readonly (readonly [name: string, value: string])[];
  /** Adds `connection: close`. */
  readonly isLast?: boolean;
  /** The request was HEAD: the body is measured, not sent. */
  readonly isHead?: boolean;
}

/** Of the answers a proxy gives itself; others go without a phrase, which the grammar allows. */
const REASONS: { readonly [status: number]: string } = {
  100: "Continue",
  200: "OK",
  201: "Created",
  204: "No Content",
  301: "Moved Permanently",
  302: "Found",
  303: "See Other",
  307: "Temporary Redirect",
  308: "Permanent Redirect",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  408: "Request Timeout",
  413: "Content Too Large",
  414: "URI Too Long",
  421: "Misdirected Request",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
};

/** Bytes of a whole response. Make common ones once and keep them. A byte that could end a field line early becomes a space, so that no text of a
 *  policy splits a response. */
export function answerBytes(answer: Answer): Uint8Array {
  const body = bytesOf(answer.body ?? "");
  const isBodiless = answer.status < 200 || answer.status === 204 || answer.status === 304;
  let head = `HTTP/1.1 ${answer.status} ${REASONS[answer.status] ?? ""}\r\n`;
  for (const [name, value] of answer.fields ?? []) head += `${name}: ${asValue(value)}\r\n`;
  if (!isBodiless) {
    const isTyped = answer.fields?.some(([name]) => name === "content-type") === true;
    if (body.length > 0 && !isTyped)
      head += `content-type: ${asValue(answer.contentType ?? "text/plain")}\r\n`;
    head += `content-length: ${body.length}\r\n`;
  }
  if (answer.isLast === true) head += "connection: close\r\n";
  const start = bytesOf(`${head}\r\n`);
  return isBodiless || answer.isHead === true ? start : concat([start, body]);
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: control bytes are what this is about
const asValue = (text: string): string => text.replace(/[\u0000-\u0008\u000a-\u001f\u007f]/g, " ");
