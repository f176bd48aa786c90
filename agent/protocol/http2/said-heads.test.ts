import { expect, test } from "bun:test";
import fc from "fast-check";
import { blockOf } from "../../../test/support/http2-end.ts";
import { IGNORE, ServerEnd } from "../../../test/support/lane-end.ts";
import { bytesOf } from "../../base/bytes.ts";
import type { Stream, StreamHandler } from "../../base/net.ts";

/** A connection that is asked, and answers as told. */
class Server extends ServerEnd {
  #id = -1;
  #lane: Stream | undefined;
  protected override readonly notes: StreamHandler = {
    ...IGNORE,
    onData: (lane) => this.#take(lane),
  };

  #take(lane: Stream): void {
    this.#lane = lane;
  }

  /** What is written of an answer on the next stream, in pieces of at most so many bytes. */
  answer(method: string, text: string, most: number): readonly number[] {
    this.#id += 2;
    const request = [
      [":method", method],
      [":scheme", "http"],
      [":authority", "app"],
      [":path", "/"],
    ] as const;
    this.hear(this.#id, blockOf(request), true);
    this.written = [];
    const bytes = bytesOf(text);
    for (let at = 0; at < bytes.length; at += most)
      this.#lane?.write(bytes, at, Math.min(bytes.length, at + most));
    this.receive(new Uint8Array(0));
    return this.written;
  }
}

const FIELDS = ["a: 1", "a: 2", "b: 1", "Set-Cookie: x", "cache-control: no-store"];
const BODIES = [
  ["content-length: 0", ""],
  ["content-length: 2", "hi"],
  ["transfer-encoding: chunked", "2\r\nhi\r\n0\r\n\r\n"],
] as const;

test("an answer is said as if none had been said before, whatever was", () => {
  const answer = fc
    .tuple(
      fc.constantFrom("200 OK", "404 Not Found", "204 No Content"),
      fc.subarray(FIELDS),
      fc.constantFrom(...BODIES),
      fc.constantFrom("GET", "GET", "GET", "HEAD"),
      fc.constantFrom("", "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
    )
    .map(([status, fields, [length, body], method, interim]) => {
      const isBodiless = status.startsWith("204");
      const lines = [`HTTP/1.1 ${status}`, ...fields, ...(isBodiless ? [] : [length]), "", ""];
      const content = isBodiless || method === "HEAD" ? "" : body;
      return { method, text: interim + lines.join("\r\n") + content };
    });
  const said = fc
    .array(answer, { minLength: 1, maxLength: 4 })
    .chain((answers) => fc.array(fc.constantFrom(...answers), { minLength: 1, maxLength: 20 }));
  fc.assert(
    fc.property(said, fc.constantFrom(1_000, 1_000, 7), (answers, most) => {
      const server = new Server();
      for (const [i, { method, text }] of answers.entries()) {
        const alone = new Server();
        for (let before = 0; before < i; before++)
          alone.answer(
            "GET",
            `HTTP/1.1 200 OK\r\nx: ${before}\r\ncontent-length: 0\r\n\r\n`,
            1_000,
          );
        expect(server.answer(method, text, most)).toEqual([...alone.answer(method, text, most)]);
      }
    }),
    { numRuns: 60, seed: 4 },
  );
});
