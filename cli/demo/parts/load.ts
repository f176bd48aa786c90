// The visitor: a gentle, steady load that never retries, so that every reset, timeout and unexpected status of the mesh is seen. Three kinds
// of traffic at once: a kept-alive connection, fresh connections, and one long-lived TCP echo. Prints its counts as JSON lines.
import { connect } from "node:net";
import { failureOf, HttpConnection, type HttpReply, TrafficError } from "./http-client.ts";

export interface LoadConfig {
  readonly page: { readonly host: string; readonly port: number };
  readonly echo: { readonly host: string; readonly port: number };
  /** Pages per second, over all kinds. */
  readonly rate: number;
  readonly timeoutMs: number;
}

export interface LoadCounts {
  keptAlive: number;
  fresh: number;
  echoed: number;
  /** Failure or unexpected status -> how often. */
  readonly failures: { [what: string]: number };
  /** reviews version -> pages that showed it. */
  readonly versions: { [version: string]: number };
}

export class Load {
  readonly counts: LoadCounts = { keptAlive: 0, fresh: 0, echoed: 0, failures: {}, versions: {} };
  readonly #config: LoadConfig;
  #kept: HttpConnection | undefined;
  #isStopped = false;

  constructor(config: LoadConfig) {
    this.#config = config;
  }

  async run(): Promise<void> {
    await Promise.all([this.#askKeptAlive(), this.#askFresh(), this.#echo()]);
  }

  stop(): void {
    this.#isStopped = true;
  }

  async #askKeptAlive(): Promise<void> {
    await this.#paced(2_000 / this.#config.rate, async () => {
      this.#kept ??= await HttpConnection.open(this.#config.page, this.#config.timeoutMs);
      try {
        const reply = await this.#kept.ask({ path: "/productpage", host: this.#authority() });
        if (this.#isWhole(reply)) this.counts.keptAlive += 1;
      } finally {
        // A server may close an idle connection in order; that is not a failure, but it is not usable either.
        if (!this.#kept.isUsable) this.#kept = undefined;
      }
    });
    this.#kept?.close();
  }

  async #askFresh(): Promise<void> {
    await this.#paced(2_000 / this.#config.rate, async () => {
      const connection = await HttpConnection.open(this.#config.page, this.#config.timeoutMs);
      try {
        const question = { path: "/productpage", host: this.#authority(), isLast: true };
        if (this.#isWhole(await connection.ask(question))) this.counts.fresh += 1;
      } finally {
        connection.close();
      }
    });
  }

  async #echo(): Promise<void> {
    while (!this.#isStopped) {
      try {
        await this.#echoUntilBroken();
      } catch (cause) {
        this.#failed(`echo ${failureOf(cause).failure}`);
        await pause(500);
      }
    }
  }

  /** One connection for as long as it lasts: line by line, each must come back before the next goes out. */
  #echoUntilBroken(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const socket = connect(this.#config.echo);
    let expected = "";
    let heard = "";
    const timer = setInterval(() => {
      if (this.#isStopped) {
        socket.destroy();
        resolve();
      } else if (heard === expected) {
        expected = `line ${this.counts.echoed}\n`;
        heard = "";
        socket.write(expected);
      } else if (Date.now() - lastSent > this.#config.timeoutMs) {
        socket.destroy();
        reject(new TrafficError("timeout", "no echo"));
      }
    }, 5_000 / this.#config.rate);
    let lastSent = Date.now();
    socket.on("data", (bytes) => {
      heard += bytes.toString("latin1");
      if (heard !== expected) return;
      this.counts.echoed += 1;
      lastSent = Date.now();
    });
    socket.on("error", reject);
    socket.on("close", () => reject(new TrafficError("closed", "echo connection closed")));
    return promise.finally(() => {
      clearInterval(timer);
      socket.destroy();
    });
  }

  /** `task` at most every `everyMs`; what it throws is counted, never tried again. */
  async #paced(everyMs: number, task: () => Promise<void>): Promise<void> {
    let next = Date.now();
    while (!this.#isStopped) {
      try {
        await task();
      } catch (cause) {
        this.#failed(failureOf(cause).failure);
      }
      next = Math.max(next + everyMs, Date.now());
      await pause(next - Date.now());
    }
  }

  /** Counts what is wrong with a page, or the version it shows. */
  #isWhole(reply: HttpReply): boolean {
    const version = /id="reviews-version">([^<]+)</.exec(reply.body)?.[1];
    if (reply.status !== 200) this.#failed(`status ${reply.status}`);
    else if (reply.body.includes("Error fetching product details"))
      this.#failed(`no details${causeIn(reply.body)}`);
    else if (version === undefined) this.#failed(`no reviews${causeIn(reply.body)}`);
    else {
      this.counts.versions[version] = (this.counts.versions[version] ?? 0) + 1;
      return true;
    }
    return false;
  }

  #failed(what: string): void {
    this.counts.failures[what] = (this.counts.failures[what] ?? 0) + 1;
  }

  #authority(): string {
    return `${this.#config.page.host}:${this.#config.page.port}`;
  }
}

/** What the page says of the call that failed. */
const causeIn = (body: string): string => {
  const cause = /Error fetching [^<]*<\/h2><p>([^<]{0,200})/.exec(body)?.[1];
  return cause === undefined ? "" : ` (${cause.trim()})`;
};

const pause = (forMs: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, Math.max(0, forMs)));

export const TELLS_EVERY_MS = 250;

/** As a process of its own inside a host: its counts as JSON lines, until SIGTERM. */
export async function serveLoad(config: LoadConfig): Promise<void> {
  const load = new Load(config);
  const timer = setInterval(() => console.log(JSON.stringify(load.counts)), TELLS_EVERY_MS);
  process.once("SIGTERM", () => load.stop());
  await load.run();
  clearInterval(timer);
  console.log(JSON.stringify(load.counts));
}
