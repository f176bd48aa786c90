// One HTTP/1.1 exchange over a connection that is already there: verified TLS to the config server, or the agent's unix socket.
// Written by hand because the check of the peer must come before the first byte, which HTTP clients do not promise.
import type { Duplex } from "node:stream";

export const ANSWER_BYTES_MAX = 268_435_456;

export interface Request {
  readonly method: string;
  readonly path: string;
  readonly host: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}
export interface Answer {
  readonly status: number;
  readonly body: string;
  /** The Date field, as sent. */
  readonly date?: string;
}

/** Ends the connection. Rejects on a cut, an answer that is not HTTP, or silence for `timeoutMs`. */
export async function exchange(
  stream: Duplex,
  request: Request,
  timeoutMs: number,
): Promise<Answer> {
  const timer = setTimeout(
    () => stream.destroy(new Error(`no answer within ${timeoutMs} ms`)),
    timeoutMs,
  );
  try {
    stream.write(requestText(request));
    return parseAnswer(await readAll(stream));
  } finally {
    clearTimeout(timer);
    stream.destroy();
  }
}

function requestText({ method, path, host, headers = {}, body }: Request): string {
  const fields: Record<string, string> = {
    host,
    connection: "close",
    accept: "application/json",
    ...headers,
    ...(body === undefined
      ? {}
      : { "content-type": "application/json", "content-length": String(Buffer.byteLength(body)) }),
  };
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n${body ?? ""}`;
}

/** All bytes until the peer ends, or the length that it announced is there. */
async function readAll(stream: Duplex): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  let wanted: number | undefined;
  for await (const chunk of stream) {
    chunks.push(Buffer.from(chunk));
    size += chunk.length;
    if (size > ANSWER_BYTES_MAX) throw new Error(`answer is larger than ${ANSWER_BYTES_MAX} bytes`);
    wanted ??= announcedLength(chunks);
    if (wanted !== undefined && size >= wanted) break;
  }
  return Buffer.concat(chunks);
}

function announcedLength(chunks: readonly Buffer[]): number | undefined {
  const text = Buffer.concat(chunks).toString("latin1");
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const length = /\r\ncontent-length: *([0-9]+)/i.exec(text.slice(0, end + 2))?.[1];
  // Without one (chunked, or until the end): never reached, so the end of the stream decides.
  return length === undefined ? Number.POSITIVE_INFINITY : end + 4 + Number(length);
}

function parseAnswer(bytes: Buffer): Answer {
  const end = bytes.indexOf("\r\n\r\n");
  const head = bytes.subarray(0, Math.max(0, end)).toString("latin1");
  const status = /^HTTP\/1\.[01] ([0-9]{3})/.exec(head)?.[1];
  if (status === undefined) throw new Error("the connection ended without an HTTP answer");
  const body = bytes.subarray(end + 4);
  const sentAt = /\r\ndate: *([^\r]+)/i.exec(head)?.[1];
  const date = sentAt === undefined ? {} : { date: sentAt };
  if (/\r\ntransfer-encoding: *chunked/i.test(head))
    return { status: Number(status), body: unchunk(body).toString("utf8"), ...date };
  const length = /\r\ncontent-length: *([0-9]+)/i.exec(head)?.[1];
  if (length !== undefined && body.length < Number(length))
    throw new Error("the connection was cut in the middle of the answer");
  return { status: Number(status), body: body.toString("utf8"), ...date };
}

function unchunk(bytes: Buffer): Buffer {
  const parts: Buffer[] = [];
  let at = 0;
  for (;;) {
    const lineEnd = bytes.indexOf("\r\n", at);
    const size = Number.parseInt(bytes.subarray(at, Math.max(at, lineEnd)).toString("latin1"), 16);
    const from = lineEnd + 2;
    if (lineEnd < 0 || Number.isNaN(size) || from + size > bytes.length)
      throw new Error("the connection was cut in the middle of the answer");
    if (size === 0) return Buffer.concat(parts);
    parts.push(bytes.subarray(from, from + size));
    at = from + size + 2;
  }
}
