import { describe, expect, test } from "bun:test";
import { MeshFixture, VIP } from "../../test/support/mesh-fixture.ts";
import { TextEnd } from "../../test/support/text-stream.ts";

const TO = { address: VIP, port: 80 };
const hello = (body = "hello") =>
  `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`;

/** An app that answers each head it sees; what it received stays readable. */
function app(mesh: MeshFixture, answer: (end: TextEnd) => string | undefined): TextEnd[] {
  const ends: TextEnd[] = [];
  mesh.server.network.listen(8080, (stream) => {
    const end = new TextEnd();
    ends.push(end.attach(stream));
    end.onText = () => {
      const text = answer(end);
      if (text !== undefined) end.send(text);
    };
  });
  return ends;
}

function settle(mesh: MeshFixture, ms = 200): void {
  mesh.clock.pass(ms);
  expect(mesh.bugs).toEqual([]);
}

function dial(mesh: MeshFixture): TextEnd {
  const end = new TextEnd();
  return end.attach(mesh.client.dialOut(TO, end));
}

describe("HTTP through two agents", () => {
  test("a request passes both, and the app learns who called", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, (end) => (end.text.endsWith("\r\n\r\n") ? hello() : undefined));
    const client = dial(mesh);
    client.send("GET /a?b=c HTTP/1.1\r\nhost: server\r\n\r\n");
    settle(mesh);
    expect(client.text).toBe(hello());
    const seen = apps[0]?.text ?? "";
    expect(seen).toStartWith("GET /a?b=c HTTP/1.1\r\nhost: server\r\n");
    expect(seen).toContain(
      "x-forwarded-client-cert: By=spiffe://mesh/ns/default/sa/server;URI=spiffe://mesh/ns/default/sa/client\r\n",
    );
    expect(seen).toMatch(/traceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]\r\n/);
    expect(apps[0]?.stream?.peerAddress).toBe("127.0.0.6");
  });
});
