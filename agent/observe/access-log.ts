// The access log: one JSON object a request or connection, written at its end, in the field words of Istio's default access log.
// Lines are batched: the sink is called once a batch, and what a full batch cannot take is counted and dropped, never waited for.

export type AccessLogMode = "off" | "on" | "errors";

export interface AccessLogConfig {
  readonly mode: AccessLogMode;
  /** How many characters may wait for the next flush. Default 1 MiB; more are dropped and counted. */
  readonly batchCharsMax: number;
}
export const ACCESS_LOG_DEFAULTS: AccessLogConfig = { mode: "off", batchCharsMax: 1_048_576 };

/** Receives whole lines, each ending in a line feed. */
export interface AccessLogSink {
  write(lines: string): void;
}

export interface AccessRecord {
  readonly [field: string]: string | number | undefined;
}

export class AccessLog {
  readonly #sink: AccessLogSink;
  readonly #batchCharsMax: number;
  mode: AccessLogMode;
  #batch = "";
  /** Records that no batch had room for. */
  dropped = 0;

  constructor(config: AccessLogConfig, sink: AccessLogSink) {
    this.mode = config.mode;
    this.#batchCharsMax = config.batchCharsMax;
    this.#sink = sink;
  }

  /** Whether a record with this outcome is wanted: ask before building one. */
  wants(isError: boolean): boolean {
    return this.mode === "on" || (this.mode === "errors" && isError);
  }

  add(record: AccessRecord): void {
    const line = `${JSON.stringify(record)}\n`;
    if (this.#batch.length + line.length > this.#batchCharsMax) this.dropped++;
    else this.#batch += line;
  }

  /** Called by the thread's loop between rounds of events. */
  flush(): void {
    if (this.#batch === "") return;
    const lines = this.#batch;
    this.#batch = "";
    this.#sink.write(lines);
  }
}
