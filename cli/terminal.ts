// Where a command reads and writes: the process's own streams, or a test's.

export interface Terminal {
  /** A line (or several) for standard output. */
  out(text: string): void;
  /** A line for standard error: progress, warnings, what went wrong. */
  err(text: string): void;
  readonly isColour: boolean;
  readonly env: Readonly<Record<string, string | undefined>>;
  readStdin(): Promise<string>;
  nowMs(): number;
  sleep(ms: number): Promise<void>;
}

/** The process's own. Colour only for people: on a TTY, without NO_COLOR (no-color.org). */
export function processTerminal(): Terminal {
  const { stdout, stderr, stdin, env } = process;
  return {
    out: (text) => void stdout.write(`${text}\n`),
    err: (text) => void stderr.write(`${text}\n`),
    isColour: stdout.isTTY === true && !env["NO_COLOR"] && env["TERM"] !== "dumb",
    env,
    readStdin: async () => {
      const chunks: Uint8Array[] = [];
      for await (const chunk of stdin) chunks.push(chunk);
      return Buffer.concat(chunks).toString("utf8");
    },
    nowMs: () => Date.now(),
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  };
}
