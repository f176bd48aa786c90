// Short-lived commands of the system, run to their end.
import { spawn } from "node:child_process";

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How much of a command's output is kept. */
const OUTPUT_BYTES_MAX = 8_388_608;

export interface RunOptions {
  readonly input?: string;
  readonly env?: { readonly [name: string]: string };
  readonly timeoutMs?: number;
}

/** Never rejects for a command that failed; only when it could not be started at all. */
export function run(command: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const [file = "", ...args] = command;
  const { promise, resolve, reject } = Promise.withResolvers<Finished>();
  const child = spawn(file, args, {
    env: { ...process.env, ...options.env },
    // A session of its own: Ctrl-C is for the demo alone, which then ends everything in order.
    detached: true,
    stdio: ["pipe", "pipe", "pipe"],
    timeout: options.timeoutMs ?? 30_000,
    killSignal: "SIGKILL",
  });
  const output = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name].setEncoding("utf8");
    child[name].on("data", (text: string) => {
      if (output[name].length < OUTPUT_BYTES_MAX) output[name] += text;
    });
  }
  child.on("error", reject);
  child.on("close", (code) => resolve({ code: code ?? -1, ...output }));
  child.stdin.on("error", () => undefined); // a command that does not read its input is no fault of ours
  child.stdin.end(options.input ?? "");
  return promise;
}

/** As run(), but a failure is ours to explain: throws with what the command said. */
export async function runOrThrow(
  command: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const finished = await run(command, options);
  if (finished.code === 0) return finished.stdout;
  const said = (finished.stderr || finished.stdout).trim();
  throw new Error(`${command.slice(0, 8).join(" ")} ended with ${finished.code}: ${said}`);
}
