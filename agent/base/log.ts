// Structured logs: one JSON object a line. Secrets and raw peer bytes never get here (STYLE, "Errors").

export type LogLevel = "error" | "warn" | "info" | "debug";
export type LogFields = {
  readonly [name: string]: string | number | boolean | undefined | readonly string[];
};

/** `error` means wake someone, `warn` degraded, `info` state changed, `debug` the rest. */
export interface Log {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
}

const RANK: Record<LogLevel, number> = { error: 0, warn: 1, info: 2, debug: 3 };

export class LineLog implements Log {
  readonly #level: LogLevel;
  readonly #write: (line: string) => void;
  readonly #wallMs: () => number;

  constructor(level: LogLevel, deps: { write(line: string): void; wallMs(): number }) {
    this.#level = level;
    this.#write = deps.write;
    this.#wallMs = deps.wallMs;
  }

  error(message: string, fields?: LogFields): void {
    this.#line("error", message, fields);
  }
  warn(message: string, fields?: LogFields): void {
    this.#line("warn", message, fields);
  }
  info(message: string, fields?: LogFields): void {
    this.#line("info", message, fields);
  }
  debug(message: string, fields?: LogFields): void {
    this.#line("debug", message, fields);
  }

  #line(level: LogLevel, message: string, fields: LogFields | undefined): void {
    if (RANK[level] > RANK[this.#level]) return;
    const time = new Date(this.#wallMs()).toISOString();
    this.#write(`${JSON.stringify({ time, level, message, ...fields })}\n`);
  }
}

export const SILENT_LOG: Log = { error() {}, warn() {}, info() {}, debug() {} };
