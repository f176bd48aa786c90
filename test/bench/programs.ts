// Programs of ours that the benchmark runs under users of the mesh, who may not look into the place that this is run from.
import { copyFileSync, existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { copyProgram, DIRECTORY } from "./hosts.ts";

/** The command of a program that lies beside this file and imports nothing of the project. */
export function program(name: string, ...args: readonly string[]): readonly string[] {
  const runtime = `${DIRECTORY}/bun`;
  if (!existsSync(runtime)) copyProgram(process.execPath, runtime);
  const script = `${DIRECTORY}/${name}.ts`;
  copyFileSync(fileURLToPath(new URL(`./${name}.ts`, import.meta.url)), script);
  return [runtime, script, ...args];
}
