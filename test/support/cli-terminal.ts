// The CLI run in this process, with what it prints kept.
import type { Programs } from "../../cli/programs.ts";
import { runCli } from "../../cli/run.ts";
import type { Terminal } from "../../cli/terminal.ts";

export interface Ran {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

const unexpected = (): Promise<never> => Promise.reject(new Error("not in this test"));
const NO_PROGRAMS: Programs = {
  agent: unexpected,
  server: unexpected,
  join: unexpected,
  redirect: unexpected,
  tryRedirect: unexpected,
  refuseHost: unexpected,
};

export async function meshctl(
  words: readonly string[],
  {
    env = {},
    stdin = "",
    programs = {},
    isColour = false,
  }: {
    env?: Record<string, string>;
    stdin?: string;
    programs?: Partial<Programs>;
    isColour?: boolean;
  } = {},
): Promise<Ran> {
  const lines: Record<"out" | "err", string[]> = { out: [], err: [] };
  const terminal: Terminal = {
    out: (text) => void lines.out.push(text),
    err: (text) => void lines.err.push(text),
    isColour,
    env,
    readStdin: () => Promise.resolve(stdin),
    nowMs: () => Date.now(),
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  };
  const exitCode = await runCli(words, terminal, { ...NO_PROGRAMS, ...programs });
  return { exitCode, out: lines.out.join("\n"), err: lines.err.join("\n") };
}
