// What every command is given, and the options that many share.
import { type Command, Option } from "commander";
import { type Context, chooseContext } from "./contexts.ts";
import { FORMATS, type Format, parseFormat } from "./output.ts";
import type { Programs } from "./programs.ts";
import { ServerClient } from "./server-client.ts";
import type { Terminal } from "./terminal.ts";

export interface Surroundings {
  readonly terminal: Terminal;
  readonly programs: Programs;
  /** For a command that has done its work and yet does not end in 0, as `diff`. */
  setExitCode(code: number): void;
}

export type AddCommand = (program: Command, around: Surroundings) => void;

export interface ServerOptions {
  readonly context?: string;
}
export const withServer = (command: Command): Command =>
  command.option("--context <name>", "config server to talk to (default: the last login's)");
export const contextOf = ({ terminal }: Surroundings, { context }: ServerOptions): Context =>
  chooseContext(terminal.env, context);
export const clientOf = (around: Surroundings, options: ServerOptions): ServerClient =>
  new ServerClient(contextOf(around, options));

export interface OutputOptions {
  readonly output: Format;
}
export const withOutput = (command: Command): Command =>
  command.addOption(
    new Option("-o, --output <format>", `${FORMATS.join(", ")}`)
      .argParser(parseFormat)
      .default("table"),
  );

export interface FileOptions {
  readonly filename: readonly string[];
}
export const withFiles = (command: Command): Command =>
  command.addOption(
    new Option("-f, --filename <path>", "file, directory or - for standard input; may be repeated")
      .argParser<readonly string[]>((path, before) => [...(before ?? []), path])
      // The second word keeps an empty list out of --help.
      .default([], "none"),
  );

/** Shown under `--help`. */
export const examples = (command: Command, ...lines: readonly string[]): Command =>
  command.addHelpText("after", `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}`);
