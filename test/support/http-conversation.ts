// What the tests of the HTTP path share: an app, a client that asks, and the routes between them.
import { expect } from "bun:test";
import type { HttpRoute } from "../../agent/policy/snapshot.ts";
import { type FixtureOptions, MeshFixture, service, VIP } from "./mesh-fixture.ts";
import { TextEnd } from "./text-stream.ts";

const TO = { address: VIP, port: 80 };
export const GET = "GET /a?b=c HTTP/1.1\r\nhost: server\r\n\r\n";
export const ok = (body = "hello") =>
  `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
export const status = (code: number) => `HTTP/1.1 ${code} X\r\ncontent-length: 0\r\n\r\n`;

/** An app that is asked for an answer whenever something arrives. */
export function app(mesh: MeshFixture, answer: (end: TextEnd, nth: number) => string | undefined) {
  const ends: TextEnd[] = [];
  mesh.server.network.listen(8080, (stream) => {
    const end = new TextEnd();
    const nth = ends.push(end.attach(stream)) - 1;
    end.onText = () => {
      const text = answer(end, nth);
      if (text !== undefined) end.send(text);
    };
  });
  return ends;
}

/** Answers each head of a request without a body. */
export const answering = (make: (nth: number) => string) => {
  let answered = 0;
  return (end: TextEnd): string | undefined => {
    let text = "";
    for (let at = end.text.indexOf("\r\n\r\n"); at >= 0; at = end.text.indexOf("\r\n\r\n")) {
      end.text = end.text.slice(at + 4);
      text += make(answered++);
    }
    return text === "" ? undefined : text;
  };
};

export function settle(mesh: MeshFixture, ms = 200): void {
  mesh.clock.pass(ms);
  expect(mesh.bugs).toEqual([]);
}

export function dial(mesh: MeshFixture): TextEnd {
  const end = new TextEnd();
  return end.attach(mesh.client.dialOut(TO, end));
}

/** Sends one text, and says what came back. */
export function ask(mesh: MeshFixture, text = GET, ms = 200): string {
  const client = dial(mesh);
  client.send(text);
  settle(mesh, ms);
  return client.text;
}

export const withRoute = (route: HttpRoute, options: FixtureOptions = {}): MeshFixture => {
  const mesh = new MeshFixture(options);
  mesh.swapClient({ services: [service({}, [route])] });
  return mesh;
};
