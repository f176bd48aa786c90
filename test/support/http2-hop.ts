// One agent between HTTP/2 on one side, which is the test's and as hostile as it likes, and HTTP/1.1 on the other. The data plane is the real
// one; the network below it is in memory.
import { expect } from "bun:test";
import type { DataPlaneConfig } from "../../agent/proxy/config.ts";
import { type Fields, GET_FIELDS, Http2End, POST_FIELDS } from "./http2-end.ts";
import { endpoint, type Host, MeshFixture, serverWorkload, VIP } from "./mesh-fixture.ts";
import { TextEnd } from "./text-stream.ts";

const APP = { address: "10.0.0.2", port: 8080 };
const FROM_OUTSIDE = { address: "10.0.0.7", to: APP };
const GET = "GET /a HTTP/1.1\r\nhost: server\r\n\r\n";
export const ANSWER = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/** What the client sees of it. */
export const answered = (id: number): string[] => [
  `HEADERS ${id} :status=200 content-length=2`,
  `DATA ${id} ok END`,
];

export interface HopOptions {
  /** As a local client's server, or as that of somebody who comes from outside. Default: the former. */
  readonly way?: "outbound" | "inbound";
  /** Bytes travel in random pieces. */
  readonly splits?: boolean;
  readonly config?: Partial<DataPlaneConfig>;
  /** The app answers each request that is whole. Default true: by ANSWER. */
  readonly answers?: boolean | string;
  /** What the network takes of a direction at a time. */
  readonly windowBytes?: number;
  /** Called before anybody dials. */
  readonly prepare?: (mesh: MeshFixture) => void;
}

/** Each way, whole and in pieces. */
export const EACH: readonly HopOptions[] = [
  { way: "outbound", splits: false },
  { way: "outbound", splits: true },
  { way: "inbound", splits: true },
];

abstract class Hop {
  readonly mesh: MeshFixture;

  constructor({ splits = false, windowBytes = 65_536, config = {}, prepare }: HopOptions) {
    const network = splits ? { splits, windowBytes } : { latencyMs: 0, windowBytes };
    this.mesh = new MeshFixture({ network, config });
    prepare?.(this.mesh);
  }

  /** The agent whose conduct it is. */
  abstract readonly host: Host;

  pass(ms = 300): this {
    this.mesh.clock.pass(ms);
    expect(this.mesh.bugs).toEqual([]);
    return this;
  }

  refused(reason: string): number {
    return this.host.count("ironmesh_http2_refused_total", { reason });
  }

  /** Nothing is left open or counted. */
  expectNothingLeft(): void {
    this.host.plane.drain();
    this.pass(20_000);
    expect(this.host.plane.openConnections).toBe(0);
    expect([0, 10, 11, 12, 13, 100].map((slot) => this.host.slots.read(slot))).toEqual([
      0, 0, 0, 0, 0, 0,
    ]);
  }
}

/** The agent is the server: a client of HTTP/2, an app of HTTP/1.1. */
export class ServerHop extends Hop {
  readonly apps: TextEnd[] = [];
  readonly client: Http2End;
  readonly #isInbound: boolean;

  constructor(options: HopOptions = {}, client = new Http2End("client")) {
    super(options);
    this.#isInbound = options.way === "inbound";
    this.mesh.swapClient({ endpoints: [endpoint(0, { mesh: undefined })] });
    this.mesh.server.network.listen(APP.port, (stream) => {
      const end = new TextEnd().attach(stream);
      this.apps.push(end);
      let answeredHeads = 0;
      end.onText = () => {
        const heads = end.text.split(/HTTP\/1\.1\r\n/).length - 1;
        if (options.answers === false || heads === answeredHeads || !isWhole(end.text)) return;
        answeredHeads = heads;
        end.send(typeof options.answers === "string" ? options.answers : ANSWER);
      };
    });
    this.client = client;
    client.attach(
      this.#isInbound
        ? this.mesh.server.arrive(client, FROM_OUTSIDE)
        : this.mesh.client.dialOut({ address: VIP, port: 80 }, client),
    );
    this.pass();
    client.take();
  }

  get host(): Host {
    return this.#isInbound ? this.mesh.server : this.mesh.client;
  }

  /** A request on that stream whose body is not at its end. */
  begin(id = 1, fields: Fields = POST_FIELDS): this {
    this.client.headers(id, fields, false);
    this.pass();
    this.client.take();
    return this;
  }

  /** All that apps saw. */
  get seen(): string {
    return this.apps.map((end) => end.text).join("");
  }

  /** The connection serves its next stream. */
  expectServing(id: number): void {
    this.client.headers(id, GET_FIELDS);
    this.pass();
    expect(this.heard()).toEqual(answered(id));
  }

  /** What came since, content that was cut put together. */
  heard(): string[] {
    const lines: string[] = [];
    for (const line of this.client.take()) {
      const last = lines.at(-1) ?? "";
      const [, id, more] = /^DATA (\d+) (.*)$/.exec(line) ?? [];
      if (id !== undefined && last.startsWith(`DATA ${id} `)) lines[lines.length - 1] = last + more;
      else lines.push(line);
    }
    return lines;
  }

  /** Ended with that code, and no app has a request that is whole. */
  expectOver(code: number): void {
    this.pass(3_000);
    const ends = this.client.take().filter((line) => line.startsWith("GOAWAY"));
    expect(ends.map((line) => Number(line.split(" ")[2]))).toEqual([code]);
    expect(this.client.isClosed).toBe(true);
    for (const app of this.apps)
      if (!isWhole(app.text)) expect(app.closed).toEqual({ is: "failed", code: "ECONNRESET" });
    this.expectNothingLeft();
  }
}

const isWhole = (text: string): boolean =>
  /\r\n0\r\n(?:[^\r\n]+\r\n)*\r\n$/.test(text) ||
  (text.endsWith("\r\n\r\n") && !/transfer-encoding|content-length: [1-9]/.test(text)) ||
  /content-length: 2\r\n\r\n..$/.test(text);

/** The agent is the client: somebody who speaks HTTP/1.1, an app of HTTP/2. */
export class ClientHop extends Hop {
  readonly apps: Http2End[] = [];
  client: TextEnd;

  constructor(options: HopOptions = {}, makeApp = () => new Http2End("server")) {
    super(options);
    const [port] = serverWorkload().ports;
    if (port === undefined) throw new Error("the fixture has a port");
    this.mesh.swapServer({
      workloads: [serverWorkload({ ports: [{ ...port, speaks: "http2" }] })],
    });
    this.mesh.server.network.listen(APP.port, (stream) => this.apps.push(makeApp().attach(stream)));
    this.client = this.dial();
  }

  get host(): Host {
    return this.mesh.server;
  }

  dial(): TextEnd {
    const end = new TextEnd();
    return end.attach(this.mesh.server.arrive(end, FROM_OUTSIDE));
  }

  /** The app's end of its nth connection. */
  app(nth = 0): Http2End {
    const end = this.apps[nth];
    if (end === undefined) throw new Error(`the app has no connection ${nth}`);
    return end;
  }

  /** Somebody asks; the app has it on that stream of its nth connection. */
  ask(text = GET, nth = 0): this {
    this.client.send(text);
    this.pass();
    this.app(nth).take();
    return this;
  }

  get statuses(): number[] {
    return Array.from(this.client.text.matchAll(/HTTP\/1\.1 ([0-9]{3}) /g), ([, code]) =>
      Number(code),
    );
  }

  /** What came of the request is no answer of the app's: one of the agent's, or a cut. */
  expectNoAnswer(): void {
    for (const status of this.statuses) expect([502, 503]).toContain(status);
    if (this.statuses.length === 0) expect(this.client.closed?.is).toBe("failed");
  }

  /** The next client is served, on the connection that the app has as its nth. */
  expectServing(nth: number, id: number): void {
    this.client = this.dial();
    this.ask(GET, nth);
    this.app(nth).headers(id, [[":status", "204"]]);
    this.pass();
    expect(this.statuses).toEqual([204]);
  }

  expectOver(code: number): void {
    this.pass(3_000);
    const ends = this.app()
      .take()
      .filter((line) => line.startsWith("GOAWAY"));
    expect(ends.map((line) => Number(line.split(" ")[2]))).toEqual([code]);
    expect(this.app().isClosed).toBe(true);
    this.expectNoAnswer();
    this.expectServing(1, 1);
    this.expectNothingLeft();
  }
}
