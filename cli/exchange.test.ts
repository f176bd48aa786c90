import { expect, test } from "bun:test";
import { Duplex } from "node:stream";
import { exchange } from "./exchange.ts";

/** A peer that answers with these pieces, whatever it is asked, and tells what it was asked. */
function peer(pieces: readonly string[], ends = true) {
  const asked: string[] = [];
  const stream: Duplex = new Duplex({
    read() {},
    write(chunk, _encoding, done) {
      asked.push(String(chunk));
      for (const piece of pieces) stream.push(Buffer.from(piece));
      if (ends) stream.push(null);
      done();
    },
  });
  return { stream, asked };
}
const GET = { method: "GET", path: "/x", host: "h" };

test("a request carries its length and asks for one answer only", async () => {
  const { stream, asked } = peer(["HTTP/1.1 204 No Content\r\n\r\n"]);
  await exchange(stream, { ...GET, method: "POST", body: "é" }, 1000);
  expect(asked.join("")).toBe(
    "POST /x HTTP/1.1\r\nhost: h\r\nconnection: close\r\naccept: application/json\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\né",
  );
});

test("an answer is read whole at every split, by length and in chunks", async () => {
  const byLength = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
  const inChunks =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
  for (const text of [byLength, inChunks]) {
    for (let at = 1; at < text.length; at++) {
      const { stream } = peer([text.slice(0, at), text.slice(at)]);
      expect(await exchange(stream, GET, 1000)).toEqual({ status: 200, body: "hello" });
    }
  }
});

test("an answer of known length does not wait for the peer to hang up", async () => {
  const { stream } = peer(["HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}"], false);
  expect(await exchange(stream, GET, 60_000)).toEqual({ status: 404, body: "{}" });
});

test("a cut answer, and none, are errors", async () => {
  for (const text of [
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
  ])
    await expect(exchange(peer([text]).stream, GET, 1000)).rejects.toThrow("in the middle");
  await expect(exchange(peer([]).stream, GET, 1000)).rejects.toThrow("without an HTTP answer");
  await expect(exchange(peer([], false).stream, GET, 20)).rejects.toThrow("no answer within 20 ms");
});
