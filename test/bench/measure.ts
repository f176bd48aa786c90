// What is measured: CPU time of a process by the scheduler's own count, memory, and what wrk, h2load and iperf3 report.
import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { DIRECTORY, type HostName, LOAD_CORE, runToEnd } from "./hosts.ts";

/** CPU microseconds of all threads of these processes so far. */
export function cpuMicros(pids: readonly number[]): number {
  let nanos = 0;
  for (const pid of pids) {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      nanos += Number(
        readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "latin1").split(" ")[0],
      );
    }
  }
  return nanos / 1_000;
}

/** MiB. */
export function memoryOf(pid: number): { rss: number; anonymous: number } {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const field = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1] ?? 0) / 1024;
  return { rss: field("VmRSS"), anonymous: field("RssAnon") };
}

export interface LoadResult {
  readonly requests: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly errors: string | undefined;
}

export interface WrkLoad {
  readonly connections: number;
  readonly seconds: number;
  readonly headers?: readonly string[];
}

export function wrk(host: HostName, uid: number, url: string, load: WrkLoad): LoadResult {
  const { connections, seconds, headers = [] } = load;
  const all = [...BROWSER_HEADERS, ...headers].flatMap((header) => ["-H", header]);
  const text = runToEnd(
    host,
    ["wrk", "-t1", `-c${connections}`, `-d${seconds}`, "--latency", ...all, url],
    { core: LOAD_CORE, uid },
  );
  const at = (pattern: RegExp): string => pattern.exec(text)?.[1] ?? "";
  return {
    requests: Number(at(/(\d+) requests in/)),
    perSecond: Number(at(/Requests\/sec:\s+([\d.]+)/)),
    p50Ms: millis(at(/\n\s+50%\s+(\S+)/)),
    p99Ms: millis(at(/\n\s+99%\s+(\S+)/)),
    errors: /(Socket errors.*|Non-2xx.*)/.exec(text)?.[1],
  };
}
const BROWSER_HEADERS = ["accept: */*", "user-agent: bench/1"];

function millis(text: string): number {
  const [, number = "0", unit = "ms"] = /([\d.]+)(us|ms|s|m)/.exec(text) ?? [];
  return Number(number) * ({ us: 1e-3, ms: 1, s: 1e3, m: 6e4 }[unit] ?? 1);
}

export interface Http2Load {
  /** Asked for on each of them at once. */
  readonly streams: number;
  readonly connections: number;
  readonly seconds: number;
  /** Posted with each request. */
  readonly body?: string;
  readonly headers?: readonly string[];
}

/** HTTP/2 by prior knowledge. */
export function h2load(host: HostName, uid: number, url: string, load: Http2Load): LoadResult {
  const { streams, connections, seconds, body, headers = [] } = load;
  const all = headers.flatMap((header) => ["-H", header]);
  const posted = body === undefined ? [] : ["-d", body];
  const shape = ["-t1", `-c${connections}`, `-m${streams}`, "-D", `${seconds}`];
  const answers = h2loadAnswers(host, uid, [...shape, ...all, ...posted, url]);
  const refused = answers.filter(({ status }) => status !== 200).length;
  const sorted = answers.map(({ ms }) => ms).sort((a, b) => a - b);
  return {
    requests: answers.length,
    perSecond: answers.length / seconds,
    p50Ms: share(sorted, 0.5),
    p99Ms: share(sorted, 0.99),
    errors: refused > 0 || answers.length === 0 ? `${refused} of ${answers.length}` : undefined,
  };
}

/** What was answered, by h2load's own log. `programs`: so many of it with these arguments each, started a few ms apart: the connections of
 *  one send in lockstep, which callers do not. */
export function h2loadAnswers(
  host: HostName,
  uid: number,
  args: readonly string[],
  programs = 1,
): { readonly status: number; readonly ms: number }[] {
  const logs = Array.from({ length: programs }, (_, i) => `${DIRECTORY}/h2load-${i}.log`);
  for (const log of logs) {
    writeFileSync(log, "");
    chmodSync(log, 0o666); // h2load runs as the client's own user
  }
  const startAll = 'for log in $LOGS; do h2load --log-file="$log" "$@" & sleep 0.001; done; wait';
  const env = { LOGS: logs.join(" ") };
  runToEnd(host, ["sh", "-c", startAll, "sh", ...args], { core: LOAD_CORE, uid, env });
  // Each line: when it began, status, microseconds.
  const lines = logs.flatMap((log) => readFileSync(log, "latin1").split("\n").filter(Boolean));
  return lines.map((line) => {
    const [, status, micros] = line.split("\t");
    return { status: Number(status), ms: Number(micros) / 1_000 };
  });
}

/** Of what is sorted. */
export const share = (sorted: readonly number[], part: number): number =>
  sorted[Math.floor(sorted.length * part)] ?? Number.NaN;

/** Gbit/s, sender to receiver. */
export function iperf(
  host: HostName,
  uid: number,
  address: string,
  port: number,
  seconds: number,
): number {
  const text = runToEnd(
    host,
    ["iperf3", "-J", "-c", address, "-p", `${port}`, "-t", `${seconds}`],
    { core: LOAD_CORE, uid },
  );
  return (
    (JSON.parse(text) as { end: { sum_received: { bits_per_second: number } } }).end.sum_received
      .bits_per_second / 1e9
  );
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
