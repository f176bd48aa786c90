// One agent between a client and an app, both of them the test's: what the client sends byte for byte, what the app sees, what it
// answers and what the client gets. The data plane is the real one; the network below it is in memory.
import { expect } from "bun:test";
import type { DataPlaneConfig } from "../../agent/proxy/config.ts";
import {
  endpoint,
  type FixtureOptions,
  MeshFixture,
  SERVER_ID,
  serverWorkload,
  service,
  VIP,
} from "./mesh-fixture.ts";
import { bytesOfLatin1 } from "./naive-http1.ts";
import { TextEnd } from "./text-stream.ts";

const APP = { address: "10.0.0.2", port: 8080 };

/** Which of the agent's two roles stands between: a local client's way out, or a stranger's way in to a local app. `mesh`: both, of an
 *  agent each. */
export type Way = "outbound" | "inbound" | "mesh";
export const WAYS = ["outbound", "inbound"] as const satisfies readonly Way[];

/** How bytes travel: as they are written, in pieces of random length, or one at a time. */
export type Travel = "whole" | "pieces" | "bytes";
export const TRAVELS: readonly Travel[] = ["whole", "pieces", "bytes"];

export interface HopOptions {
  readonly way?: Way;
  readonly travel?: Travel;
  readonly seed?: number;
  readonly config?: Partial<DataPlaneConfig>;
  readonly accessLog?: FixtureOptions["accessLog"];
  /** Between two agents. Default: a connection for each stream. */
  readonly wire?: Wire;
  /** What the ports of two agents are declared as. Default http. */
  readonly protocol?: "http" | "tcp";
}

export type Wire = "own connection" | "shared connection" | "HBONE";

/** Called whenever the app gets something. */
export type Answer = (end: TextEnd, nth: number) => string | undefined;

const SILENT: Answer = () => undefined;
/** Answers each request without a body by `text`. */
export const answerEach = (text: string): Answer => {
  return (end) => {
    const heads = end.text.split("\r\n\r\n").length - 1;
    const answered = seenBy.get(end) ?? 0;
    seenBy.set(end, heads);
    return heads > answered ? text.repeat(heads - answered) : undefined;
  };
};
const seenBy = new WeakMap<TextEnd, number>();

export const OK = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

export class Hop {
  readonly mesh: MeshFixture;
  /** Every connection that the app was opened, in order. */
  readonly apps: TextEnd[] = [];
  readonly client: TextEnd;
  readonly #options: HopOptions;

  constructor(answer: Answer = SILENT, options: HopOptions = {}) {
    this.#options = options;
    const splits = options.travel === "pieces";
    this.mesh = new MeshFixture({
      seed: options.seed ?? 1,
      network: splits ? { splits: true } : { latencyMs: 0 },
      config: options.config ?? {},
      accessLog: options.accessLog ?? "off",
      sharesConnections: options.wire === "shared connection",
    });
    if (options.way !== "mesh") {
      this.mesh.swapClient({ endpoints: [endpoint(0, { mesh: undefined })] });
    }
    if (options.way === "mesh") this.#declare(options.protocol ?? "http", options.wire);
    this.mesh.server.network.listen(APP.port, (stream) => {
      const end = new TextEnd().attach(stream);
      const nth = this.apps.push(end) - 1;
      end.onText = () => {
        const text = answer(end, nth);
        if (text !== undefined) this.#write(end, text);
      };
    });
    this.client = this.dial();
  }

  #declare(protocol: "http" | "tcp", wire: Wire | undefined): void {
    const tunnelTo = `${APP.address}:${APP.port}`;
    const tunnel = { port: 15008, serverName: "", identity: SERVER_ID, tunnelTo };
    const ports = service().ports.map((port) => ({ ...port, protocol }));
    const endpoints = [wire === "HBONE" ? endpoint(0, { mesh: tunnel }) : endpoint(0)];
    this.mesh.swapClient({ services: [service({ ports })], endpoints });
    const inbound = serverWorkload().ports.map((port) => ({ ...port, protocol }));
    this.mesh.swapServer({ workloads: [serverWorkload({ ports: inbound })] });
  }

  /** One more client. */
  dial(): TextEnd {
    const end = new TextEnd();
    const { client, server } = this.mesh;
    return end.attach(
      this.#options.way === "inbound"
        ? server.arrive(end, { address: "10.0.0.7", to: APP })
        : client.dialOut({ address: VIP, port: 80 }, end),
    );
  }

  /** Latin-1 text as bytes, travelling as the options say, and then time to be carried. */
  say(text: string, client = this.client): this {
    this.#write(client, text);
    return this.pass(this.#timeFor(text));
  }

  /** The app's word, out of turn. */
  answer(text: string, nth = 0): this {
    const end = this.apps[nth];
    if (end === undefined) throw new Error(`the app has no connection ${nth}`);
    this.#write(end, text);
    return this.pass(this.#timeFor(text));
  }

  #timeFor(text: string): number {
    return this.#options.travel === "bytes" ? text.length + 1_000 : 200;
  }

  #write(end: TextEnd, text: string): void {
    const bytes = bytesOfLatin1(text);
    if (this.#options.travel !== "bytes") end.send(bytes);
    else
      for (let i = 0; i < bytes.length; i++)
        this.mesh.clock.after(i, () => end.send(bytes.slice(i, i + 1)));
  }

  pass(ms = 200): this {
    this.mesh.clock.pass(ms);
    expect(this.mesh.bugs).toEqual([]);
    return this;
  }

  /** All that reached the app, over whatever connection. */
  get seen(): string {
    return this.apps.map((end) => end.text).join("");
  }

  /** Status codes of the answers the client has; 1xx too. */
  get statuses(): number[] {
    return Array.from(this.client.text.matchAll(/HTTP\/1\.1 ([0-9]{3}) /g), ([, code]) =>
      Number(code),
    );
  }

  /** The agent has ended the client's connection. */
  get isOver(): boolean {
    return this.client.hasEnded || this.client.closed !== undefined;
  }

  get wasCut(): boolean {
    return this.client.closed?.is === "failed";
  }

  /** Nothing is left open, counted, or lent. */
  expectNothingLeft(): void {
    this.client.stream?.reset();
    const { client, server } = this.mesh;
    client.plane.drain();
    server.plane.drain();
    this.pass(5_000);
    expect(client.plane.openConnections + server.plane.openConnections).toBe(0);
    expect([0, 10, 11, 12, 13, 100].map((slot) => client.slots.read(slot))).toEqual([
      0, 0, 0, 0, 0, 0,
    ]);
    expect(server.slots.read(0)).toBe(0);
  }
}

/** A request that must never be read out of another's bytes. */
export const SMUGGLED = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";

/** Sent by both ways and however it travels, this is answered `status` and closed, and the app has seen nothing of it. */
export function expectRefused(text: string, status: number): void {
  for (const way of WAYS) {
    for (const travel of TRAVELS) {
      const hop = new Hop(answerEach(OK), { way, travel });
      hop.say(text + SMUGGLED);
      expect({ way, travel, statuses: hop.statuses }).toEqual({ way, travel, statuses: [status] });
      expect(hop.isOver).toBe(true);
      expect(hop.seen).toBe("");
      hop.expectNothingLeft();
    }
  }
}

/** An app that answers so is not believed: 502, nothing of it passes, its connection is closed and serves nobody else. */
export function expectDistrusted(
  answer: string,
  request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
): void {
  for (const way of WAYS) {
    for (const travel of TRAVELS) {
      const hop = new Hop((end, nth) => (nth === 0 ? answerEach(answer)(end, nth) : OK), {
        way,
        travel,
      });
      hop.say(request);
      expect({ way, travel, statuses: hop.statuses }).toEqual({ way, travel, statuses: [502] });
      expect(hop.apps[0]?.closed !== undefined || hop.apps[0]?.hasEnded).toBe(true);
      hop.client.take();
      hop.say("GET /next HTTP/1.1\r\nhost: a\r\n\r\n");
      expect(hop.client.text).toEndWith("\r\n\r\nok");
      expect(hop.apps).toHaveLength(2);
      hop.expectNothingLeft();
    }
  }
}

/** It reaches the app and is answered, however it travels. Returns what the app saw. */
export function expectPassed(text: string, options: HopOptions = {}): string {
  let seen = "";
  for (const travel of TRAVELS) {
    const hop = new Hop(answerEach(OK), { ...options, travel });
    hop.say(text);
    expect({ travel, text: hop.client.text }).toEqual({
      travel,
      text: expect.stringContaining("HTTP/1.1 200 OK\r\n"),
    });
    seen = hop.seen;
    hop.expectNothingLeft();
  }
  return seen;
}
