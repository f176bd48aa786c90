// Many connections at once, every byte of theirs tagged, on a network that takes and delivers pieces of random length and poisons
// the arena after each event: whoever sees another's byte, or a byte that was given back, is found out.
import { expect, test } from "bun:test";
import { MeshFixture, VIP } from "../../test/support/mesh-fixture.ts";
import { TextEnd } from "../../test/support/text-stream.ts";
import { SeededRandom } from "../base/clock.ts";

const TO = { address: VIP, port: 80 };

/** Answers `GET /TAG/SIZE` and `POST /TAG/SIZE` with SIZE times the tag, after checking the body's tags. */
class TaggedApp {
  readonly wrong: string[] = [];
  #buffer = "";
  readonly #end: TextEnd;
  readonly #random: SeededRandom;

  constructor(end: TextEnd, random: SeededRandom) {
    this.#end = end;
    this.#random = random;
    end.onText = () => this.#read();
  }

  #read(): void {
    this.#buffer += this.#end.take();
    for (;;) {
      const at = this.#buffer.indexOf("\r\n\r\n");
      if (at < 0) return;
      const head = this.#buffer.slice(0, at);
      const length = Number(/content-length: (\d+)/.exec(head)?.[1] ?? 0);
      if (this.#buffer.length < at + 4 + length) return;
      const body = this.#buffer.slice(at + 4, at + 4 + length);
      this.#buffer = this.#buffer.slice(at + 4 + length);
      this.#answer(head, body);
    }
  }

  #answer(head: string, body: string): void {
    const [, tag = "", size = "0"] = /^[A-Z]+ \/([a-z0-9]+)\/(\d+) /.exec(head) ?? [];
    if (!head.includes(`x-tag: ${tag}\r\n`) || body.replaceAll(`${tag};`, "") !== "") {
      this.wrong.push(`${head}\n${body}`);
    }
    const answer = `${tag};`.repeat(Number(size));
    if (this.#random.unit() < 0.5) {
      this.#end.send(
        `HTTP/1.1 200 OK\r\nconnection: keep-alive\r\ncontent-length: ${answer.length}\r\n\r\n${answer}`,
      );
    } else {
      const hex = answer.length.toString(16);
      const chunk = answer === "" ? "" : `${hex}\r\n${answer}\r\n`;
      this.#end.send(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${chunk}0\r\n\r\n`);
    }
  }
}

/** The bodies of a client's answers, one after the other. */
function bodiesOf(text: string): string[] {
  const bodies: string[] = [];
  for (let at = 0; at < text.length; ) {
    const headEnd = text.indexOf("\r\n\r\n", at) + 4;
    const head = text.slice(at, headEnd);
    expect(head).toMatch(/^HTTP\/1\.1 200 OK\r\n[a-z-]+: [a-z0-9]+\r\n\r\n$/);
    const length = /content-length: (\d+)/.exec(head)?.[1];
    if (length !== undefined) {
      at = headEnd + Number(length);
      bodies.push(text.slice(headEnd, at));
      continue;
    }
    const end = text.indexOf("0\r\n\r\n", headEnd);
    const [, body = ""] = /^(?:[0-9a-f]+\r\n(.*)\r\n)?$/s.exec(text.slice(headEnd, end)) ?? [];
    bodies.push(body);
    at = end + 5;
  }
  return bodies;
}

function run(seed: number, connections: number, requestsEach: number): void {
  const mesh = new MeshFixture({ seed, network: { splits: true, windowBytes: 4096 } });
  const random = new SeededRandom(seed);
  const apps: TaggedApp[] = [];
  mesh.server.network.listen(8080, (stream) => {
    apps.push(new TaggedApp(new TextEnd().attach(stream), random));
  });
  const clients: { end: TextEnd; tag: string; isCut: boolean }[] = [];
  for (let i = 0; i < connections; i++) {
    const tag = `t${i}x`;
    const end = new TextEnd();
    end.attach(mesh.client.dialOut(TO, end));
    clients.push({ end, tag, isCut: false });
    const lines: string[] = [];
    for (let n = 0; n < requestsEach; n++) {
      const size = Math.floor(random.unit() ** 3 * 400);
      const fields = `host: a\r\nx-tag: ${tag}\r\n`;
      if (random.unit() < 0.5) lines.push(`GET /${tag}/${size} HTTP/1.1\r\n${fields}\r\n`);
      else {
        const body = `${tag};`.repeat(Math.floor(random.unit() ** 3 * 300));
        lines.push(
          `POST /${tag}/${size} HTTP/1.1\r\n${fields}content-length: ${body.length}\r\n\r\n${body}`,
        );
      }
    }
    end.send(lines.join("")); // pipelined
    if (random.unit() < 0.1) {
      const client = clients.at(-1);
      mesh.clock.after(random.unit() * 300, () => {
        if (client !== undefined) client.isCut = true;
        end.stream?.reset();
      });
    }
  }
  const isDone = ({ end, isCut }: { end: TextEnd; isCut: boolean }): boolean =>
    isCut ||
    end.closed !== undefined ||
    (end.text.match(/HTTP\/1\.1 200/g)?.length ?? 0) >= requestsEach;
  mesh.clock.until(() => clients.every(isDone), 600_000);
  mesh.clock.pass(5000);
  expect(mesh.bugs).toEqual([]);
  expect(apps.flatMap((app) => app.wrong)).toEqual([]);
  for (const { end, tag, isCut } of clients) {
    if (isCut) continue; // its last answer may be torn
    const bodies = bodiesOf(end.text);
    expect(bodies).toHaveLength(requestsEach);
    expect(bodies.join("").replaceAll(`${tag};`, "")).toBe("");
    expect(end.closed).toBeUndefined();
  }
  for (const slot of [11, 12, 13, 100]) expect(mesh.client.slots.read(slot)).toBe(0);
}

test("of 1,000 interleaved connections with pipelining and resets none sees another's byte", () => {
  run(1, 1000, 3);
});

test("nor do fewer with longer conversations, whatever the seed", () => {
  for (const seed of [2, 3, 4]) run(seed, 40, 12);
});
