// Asks the same question again and again, each time on a fresh connection and never twice, and says of every attempt when it began,
// when it ended and how: what an outage is read from. Attempts do not wait for each other, so one that hangs hides nothing.
import { failureOf, HttpConnection } from "./http-client.ts";
import { untilTold } from "./relay.ts";

export interface WatchConfig {
  readonly host: string;
  readonly port: number;
  readonly authority: string;
  readonly path: string;
  readonly everyMs: number;
  readonly timeoutMs: number;
}

/** One attempt; times by the machine's clock, which all processes of a demo share. */
export type Attempt = readonly [startedAtMs: number, endedAtMs: number, outcome: string];

/** Prints an Attempt a line as JSON, until SIGTERM and the last one has ended. */
export async function serveWatch(config: WatchConfig): Promise<void> {
  const under = new Set<Promise<void>>();
  const timer = setInterval(() => {
    const one = attempt(config).finally(() => under.delete(one));
    under.add(one);
  }, config.everyMs);
  await untilTold();
  clearInterval(timer);
  await Promise.all(under);
}

async function attempt(config: WatchConfig): Promise<void> {
  const startedAtMs = Date.now();
  const outcome = await ask(config);
  console.log(JSON.stringify([startedAtMs, Date.now(), outcome] satisfies Attempt));
}

async function ask({ host, port, authority, path, timeoutMs }: WatchConfig): Promise<string> {
  try {
    const connection = await HttpConnection.open({ host, port }, timeoutMs);
    try {
      const { status } = await connection.ask({ path, host: authority, isLast: true });
      return String(status);
    } finally {
      connection.close();
    }
  } catch (cause) {
    const { failure, message } = failureOf(cause);
    return failure === "timeout" ? message : failure;
  }
}
