// Messages of HTTP/1.1 for fuzzing: mostly valid, from pieces that matter to framing, routing and hops, and then bent.
import { SeededRandom } from "../../agent/base/clock.ts";

export class Generator {
  readonly #random: SeededRandom;
  constructor(seed: number) {
    this.#random = new SeededRandom(seed);
  }
  below(bound: number): number {
    return Math.floor(this.#random.unit() * bound);
  }
  chance(share: number): boolean {
    return this.#random.unit() < share;
  }
  one<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
  some<T>(list: readonly T[], max: number): T[] {
    return Array.from({ length: this.below(max + 1) }, () => this.one(list));
  }
}

const TARGETS = [
  "/",
  "/a/../b",
  "/%41/%2e%2e/c?x=%zz",
  "/a\\b",
  "*",
  "http://a/x/./y",
  "http://a",
  "http://b/",
  "//",
  "/%",
  "/a?/../b",
];
const PLAIN_TARGETS = TARGETS.filter((target) => /^\/[a%]/.test(target) && target !== "/%");
const LINES = [
  "Accept: */*",
  "X-Empty:",
  "x-pad: \t1 \t",
  "Connection: close",
  "Connection: keep-alive, x-pad",
  "Connection: upgrade",
  "Upgrade: websocket",
  "Upgrade: h2c",
  "Upgrade: websocket, HTTP/2.0",
  "TE: trailers",
  "Keep-Alive: 5",
  "Expect: 100-continue",
  "X-Forwarded-Client-Cert: forged",
  "Content-Length: 3",
  "Content-Length: 03",
  "Content-Length: 3, 3",
  "Transfer-Encoding: chunked",
  "Transfer-Encoding: gzip, chunked",
  "Transfer-Encoding:\x0bchunked",
  "Transfer-Encoding: chunked\t",
  "Content-Length: 3\t",
  "Transfer-Encoding : chunked",
  " folded: 1",
  "Host: b",
  "x: \xff",
];
/** What breaks nothing: a run of only bad luck tells little. */
const HARMLESS = [0, 1, 2, 4, 9, 10, 22].map((i) => LINES[i] as string);
const BODIES = [
  "",
  "abc",
  "3\r\nabc\r\n0\r\n\r\n",
  "1;x=y\r\na\r\n0\r\nX-T: 1\r\n\r\n",
  '3;a;b="\\";"\r\n0\r\n\r\n0b\r\n\r\n012345678\r\n0\r\n\r\n',
  "3 \r\nabc\r\n0\r\n\r\n",
  "2\r\nab\n0\r\n\r\n",
];
/** So many of them are what FIELDS_FOR_BODY says. */
const GOOD_BODIES = 5;
const FIELDS_FOR_BODY: readonly (readonly string[])[] = [
  [],
  ["Content-Length: 3"],
  ["Transfer-Encoding: chunked"],
  ["transfer-encoding: Chunked"],
  ["Transfer-Encoding: chunked"],
  [],
  [],
];
const NOISE = ["\r", "\n", "\0", " ", "\t", ":", "\r\n", "0", ",", "\x80"];

function message(g: Generator, startLine: string, first: readonly string[]): string {
  const body = g.below(g.chance(0.7) ? GOOD_BODIES : BODIES.length);
  const isTame = g.chance(0.7);
  const fields = [...first, ...g.some(isTame ? HARMLESS : LINES, g.chance(0.5) ? 1 : 5)];
  fields.splice(g.below(fields.length + 1), 0, ...(FIELDS_FOR_BODY[body] ?? []));
  return `${startLine}\r\n${fields.map((line) => `${line}\r\n`).join("")}\r\n${BODIES[body]}`;
}

function bend(g: Generator, text: string): string {
  let bent = text;
  for (let times = g.chance(0.4) ? 1 + g.below(2) : 0; times > 0; times--) {
    const at = g.below(bent.length + 1);
    const cut = g.below(3);
    bent = bent.slice(0, at) + (g.chance(0.7) ? g.one(NOISE) : "") + bent.slice(at + cut);
  }
  return bent;
}

/** So unlike that bending one makes no other. */
const IDS = ["aaaaaa", "bbbbbb", "cccccc"];

/** A stream of up to three requests. */
export function requests(g: Generator): string {
  const all = Array.from({ length: 1 + g.below(3) }, (_, i) => {
    const method = g.one(["GET", "POST", "OPTIONS", "HEAD", g.chance(0.2) ? "CONNECT" : "PUT"]);
    const target = g.one(g.chance(0.5) ? PLAIN_TARGETS : TARGETS);
    const line = `${method} ${target} HTTP/1.${g.chance(0.9) ? 1 : 0}`;
    return message(g, line, g.chance(0.95) ? ["Host: a", `X-Request-Id: ${IDS[i]}`] : []);
  });
  return bend(g, all.join(""));
}

const STATUSES = [
  "200 OK",
  "200 OK",
  "204 No",
  "304 Not",
  "100 Continue",
  "103 ",
  "404 \xe4",
  "101 Up",
];

/** A stream of up to three responses. */
export function responses(g: Generator): string {
  const all = Array.from({ length: 1 + g.below(3) }, () =>
    message(g, `HTTP/1.${g.chance(0.9) ? 1 : 0} ${g.one(STATUSES)}`, []),
  );
  return bend(g, all.join(""));
}

/** What an app says to one request: interim responses perhaps, and one that is final; not alone: perhaps more than anybody asked for. */
export function answer(g: Generator, isAlone: boolean): string {
  const version = g.chance(0.9) ? 1 : 0;
  const interims = g
    .some(["100 Continue", "103 "], g.chance(0.8) ? 0 : 2)
    .map(
      (status) =>
        `HTTP/1.${version} ${status}\r\n${g.chance(0.5) ? "" : "connection: x-one\r\nx-one: 1\r\n"}\r\n`,
    );
  const status = g.one(["200 OK", "200 OK", "204 No", "304 Not", "404 \xe4", "503 "]);
  if (g.chance(0.05))
    return "HTTP/1.1 101 Up\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nopaque\r\n\r\n";
  const text = message(g, `HTTP/1.${version} ${status}`, []);
  const followed = isAlone || g.chance(0.9) ? text : text + responses(g);
  return interims.join("") + (g.chance(0.7) ? followed : bend(g, followed));
}
