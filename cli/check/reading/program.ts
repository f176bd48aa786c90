// A program of the host, run to its end within a deadline; it is never waited for longer.
import { spawn } from "node:child_process";

export interface Finished {
  /** 127: there is no such program. 124: it was not done in time. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const OUTPUT_CHARS_MAX = 16_777_216;

export function runProgram(argv: readonly string[], timeoutMs: number): Promise<Finished> {
  const [file = "", ...args] = argv;
  const PATH = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin:/usr/bin:/bin`;
  return new Promise((resolve) => {
    const child = spawn(file, args, {
      stdio: ["ignore", "pipe", "pipe"],
      timeout: timeoutMs,
      killSignal: "SIGKILL",
      env: { ...process.env, LC_ALL: "C", PATH },
    });
    const said = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        if (said[name].length < OUTPUT_CHARS_MAX) said[name] += text;
      });
    }
    child.on("error", (error: NodeJS.ErrnoException) =>
      resolve({ code: error.code === "ENOENT" ? 127 : 126, stdout: "", stderr: error.message }),
    );
    child.on("close", (code) => resolve({ code: code ?? 124, ...said }));
  });
}
