// `-f`: files, directories (their .yaml, .yml and .json files, not their folders') and `-` for standard input.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { ResourceDocument } from "../agent/api/session.ts";
import type { Problem } from "../agent/base/result.ts";
import { CommandFailure, usage } from "./failure.ts";
import { colours } from "./output.ts";
import type { Terminal } from "./terminal.ts";

export interface FromFiles {
  readonly resources: readonly ResourceDocument[];
  readonly problems: readonly Problem[];
  /** With file and line, if it is about one of these resources. */
  locate(problem: Problem): Problem;
}

/** All of them, with every problem of every file. */
export async function readFiles(paths: readonly string[], terminal: Terminal): Promise<FromFiles> {
  if (paths.length === 0) throw usage("which file?", "give -f FILE, -f DIRECTORY or -f -");
  const { readResources, findTwice, locateProblem } = await import("../agent/api/read-yaml.ts");
  const read = [];
  for (const file of paths.flatMap(filesOf)) {
    const text = file === "-" ? await terminal.readStdin() : readText(file);
    read.push(readResources(text, file === "-" ? "stdin" : file));
  }
  const resources = read.flatMap((r) => r.resources);
  const problems = read.flatMap((r) => r.problems);
  if (read.length > 1) problems.push(...findTwice(resources, "the given files"));
  const places = new Map(read.flatMap((r) => [...r.places]));
  return { resources, problems, locate: (problem) => locateProblem(problem, places) };
}

/** Those that are to be sent: tells warnings, and fails on errors with all of them. */
export async function readValidFiles(
  paths: readonly string[],
  terminal: Terminal,
): Promise<FromFiles> {
  const read = await readFiles(paths, terminal);
  const { resources, problems } = read;
  await tellProblems(problems, terminal);
  const errors = problems.filter((p) => p.severity === "error").length;
  if (errors > 0)
    throw new CommandFailure(
      `${errors} ${errors === 1 ? "error" : "errors"}: nothing was sent`,
      "correct them; docs/resources.md lists every field",
    );
  if (resources.length === 0)
    throw new CommandFailure(
      `no resources in ${paths.join(", ")}`,
      "a resource has apiVersion, kind, metadata and spec; docs/examples has some",
    );
  return read;
}

export async function tellProblems(
  problems: readonly Problem[],
  terminal: Terminal,
): Promise<void> {
  if (problems.length === 0) return;
  const { problemText } = await import("../agent/api/problem-text.ts");
  const { red, yellow } = await colours(terminal.isColour);
  for (const problem of problems)
    terminal.err((problem.severity === "error" ? red : yellow)(problemText(problem)));
}

function filesOf(path: string): string[] {
  if (path === "-" || !isDirectory(path)) return [path];
  const files = readdirSync(path)
    .filter((name) => /\.(?:ya?ml|json)$/.test(name))
    .sort()
    .map((name) => join(path, name))
    .filter((file) => !isDirectory(file));
  if (files.length === 0) throw new CommandFailure(`${path} holds no .yaml, .yml or .json file`);
  return files;
}

const isDirectory = (path: string): boolean =>
  statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "unreadable";
    throw new CommandFailure(
      `cannot read ${file}: ${code === "ENOENT" ? "there is no such file" : code}`,
    );
  }
}
