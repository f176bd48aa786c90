// What the checks run inside a host under some user: many requests, counted, or many connections that say something and hang up.
// Reads a JSON job, prints a JSON result.
import { connect } from "node:net";
import { failureOf, HttpConnection, type HttpReply } from "./http-client.ts";

export type MeasureJob =
  | {
      readonly is: "requests";
      readonly host: string;
      readonly port: number;
      readonly authority: string;
      readonly method?: string;
      readonly path: string;
      readonly headers: { readonly [name: string]: string };
      readonly times: number;
      readonly connections: number;
      /** A connection for each request. */
      readonly isFresh?: boolean;
      /** A regular expression whose first group is counted in the bodies. */
      readonly countGroup?: string;
      readonly timeoutMs: number;
    }
  /** Connects, sends, closes, does not listen for an answer. */
  | {
      readonly is: "hang-up";
      readonly host: string;
      readonly port: number;
      readonly text: string;
      readonly times: number;
      readonly atOnce: number;
    }
  /** One connection: sends, then tells what comes back until it ends. */
  | {
      readonly is: "talk";
      readonly host: string;
      readonly port: number;
      readonly text: string;
      /** Says that nothing more follows, and listens on. */
      readonly isHalfClosed?: boolean;
      readonly timeoutMs: number;
    };

export interface MeasureResult {
  /** What happened -> how often: a status as `200`, or a failure's name. */
  readonly outcomes: { readonly [what: string]: number };
  readonly groups: { readonly [text: string]: number };
  /** Headers and start of the last answer's body. */
  readonly last: { readonly headers: { readonly [name: string]: string }; readonly body: string };
  readonly tookMs: number;
}

export async function serveMeasure(job: MeasureJob): Promise<void> {
  const startedMs = performance.now();
  const tally = new Tally();
  if (job.is === "requests") await ask(job, tally);
  else if (job.is === "hang-up") await hangUp(job, tally);
  else await talk(job, tally);
  const result: MeasureResult = { ...tally, tookMs: performance.now() - startedMs };
  console.log(JSON.stringify(result));
}

class Tally {
  readonly outcomes: { [what: string]: number } = {};
  readonly groups: { [text: string]: number } = {};
  last: MeasureResult["last"] = { headers: {}, body: "" };

  outcome(what: string): void {
    this.outcomes[what] = (this.outcomes[what] ?? 0) + 1;
  }
  reply(reply: HttpReply, group: RegExp | undefined): void {
    this.outcome(String(reply.status));
    this.last = { headers: reply.headers, body: reply.body.slice(0, 2_000) };
    const found = group?.exec(reply.body)?.[1];
    if (found !== undefined) this.groups[found] = (this.groups[found] ?? 0) + 1;
  }
}

async function ask(job: Extract<MeasureJob, { is: "requests" }>, tally: Tally): Promise<void> {
  const group = job.countGroup === undefined ? undefined : new RegExp(job.countGroup);
  let left = job.times;
  const client = async (): Promise<void> => {
    let connection: HttpConnection | undefined;
    while (left > 0) {
      left -= 1;
      try {
        connection ??= await HttpConnection.open(job, job.timeoutMs);
        const { method = "GET", path, authority, headers } = job;
        tally.reply(await connection.ask({ method, path, host: authority, headers }), group);
      } catch (cause) {
        tally.outcome(failureOf(cause).failure);
        connection?.close();
        connection = undefined;
      }
      if (job.isFresh === true || connection?.isUsable === false) {
        connection?.close();
        connection = undefined;
      }
    }
    connection?.close();
  };
  await Promise.all(Array.from({ length: Math.min(job.connections, job.times) }, client));
}

async function hangUp(job: Extract<MeasureJob, { is: "hang-up" }>, tally: Tally): Promise<void> {
  let left = job.times;
  const client = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      tally.outcome(await sendAndClose(job.host, job.port, job.text));
    }
  };
  await Promise.all(Array.from({ length: job.atOnce }, client));
}

function sendAndClose(host: string, port: number, text: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    socket.setTimeout(5_000, () => {
      socket.destroy();
      resolve("timeout");
    });
    socket.on("error", (cause) => resolve(failureOf(cause).failure));
    socket.on("connect", () => {
      socket.write(text, () => {
        socket.destroy();
        resolve("sent");
      });
    });
  });
}

async function talk(job: Extract<MeasureJob, { is: "talk" }>, tally: Tally): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<string>();
  let body = "";
  const socket = connect({ host: job.host, port: job.port, allowHalfOpen: true });
  socket.setTimeout(job.timeoutMs, () => resolve("timeout"));
  socket.on("connect", () => {
    if (job.isHalfClosed === true) socket.end(job.text);
    else socket.write(job.text);
  });
  socket.on("end", () => socket.end());
  socket.on("data", (bytes) => {
    body += bytes.toString("latin1");
  });
  socket.on("error", (cause) => resolve(failureOf(cause).failure));
  socket.on("close", () => resolve("closed"));
  tally.outcome(await promise);
  socket.destroy();
  tally.last = { headers: {}, body: body.slice(0, 2_000) };
}
