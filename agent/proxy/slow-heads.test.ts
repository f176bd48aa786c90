// Heads that come byte by byte. What they cost is counted in readings, so that it does not depend on the machine.
import { expect, test } from "bun:test";
import { app, ok, settle } from "../../test/support/http-conversation.ts";
import { MeshFixture, VIP } from "../../test/support/mesh-fixture.ts";
import { TextEnd } from "../../test/support/text-stream.ts";

const BYTES = 50 * 1024;
const LINES = 40;
/** Each byte arrives before the next is sent. */
const AT_ONCE = { network: { latencyMs: 0 } };

/** A head of BYTES bytes in LINES lines, without its last empty line. */
const longHead = (firstLine: string): string => {
  const value = "v".repeat(Math.floor(BYTES / LINES) - "x-00: \r\n".length);
  const fields = Array.from(
    { length: LINES - 2 },
    (_, i) => `x-${String(i).padStart(2, "0")}: ${value}\r\n`,
  );
  return `${firstLine}\r\nhost: server\r\n${fields.join("")}`;
};

interface Readable {
  forget(bytes: Uint8Array, start: number): void;
}
/** Each reading of a head begins by forgetting the one before. */
function countReadings(head: Readable): () => number {
  let count = 0;
  const forget = head.forget.bind(head);
  head.forget = (bytes, start) => {
    count++;
    forget(bytes, start);
  };
  return () => count;
}

function sendByteByByte(mesh: MeshFixture, end: TextEnd, text: string): void {
  for (const char of text) {
    end.send(char);
    mesh.clock.pass(0);
  }
}

const dialClient = (mesh: MeshFixture): TextEnd => {
  const end = new TextEnd();
  return end.attach(mesh.client.dialOut({ address: VIP, port: 80 }, end));
};

test("a request head that comes byte by byte is read once a line, and passes whole", () => {
  const mesh = new MeshFixture(AT_ONCE);
  const apps = app(mesh, (end) => (end.text.endsWith("\r\n\r\n") ? ok() : undefined));
  const readings = countReadings(mesh.client.plane.context.requestHead);
  const client = dialClient(mesh);
  const head = longHead("GET /slow HTTP/1.1");
  sendByteByByte(mesh, client, `${head}\r\n`);
  settle(mesh);
  expect(client.text).toStartWith("HTTP/1.1 200");
  expect(apps[0]?.text).toContain("x-37: vvv");
  expect(readings()).toBeLessThanOrEqual(LINES + 2);
});

test("a response head that comes byte by byte is read once a line", () => {
  const mesh = new MeshFixture(AT_ONCE);
  const apps = app(mesh, () => undefined);
  const readings = countReadings(mesh.server.plane.context.responseHead);
  const client = dialClient(mesh);
  client.send("GET / HTTP/1.1\r\nhost: server\r\n\r\n");
  settle(mesh);
  const head = longHead("HTTP/1.1 200 OK");
  const [answerer] = apps;
  if (answerer === undefined) throw new Error("the app was not called");
  sendByteByByte(mesh, answerer, `${head}content-length: 2\r\n\r\nok`);
  settle(mesh);
  expect(client.text).toEndWith("ok");
  expect(readings()).toBeLessThanOrEqual(LINES + 3);
});

test("a head without a line end is refused at its bound, also when it comes byte by byte", () => {
  const mesh = new MeshFixture(AT_ONCE);
  const client = dialClient(mesh);
  const readings = countReadings(mesh.client.plane.context.requestHead);
  sendByteByByte(mesh, client, `GET /${"a".repeat(60 * 1024)}`);
  settle(mesh);
  expect(client.text).toStartWith("HTTP/1.1 414");
  expect(readings()).toBeLessThanOrEqual(4);
});
