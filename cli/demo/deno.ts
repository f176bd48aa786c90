// The demo's mesh under Deno (`meshctl demo --runtime deno`): config server and agents run from the bundle that `bun build.ts --runtime deno`
// makes of the same sources. What is not the mesh (programs, load, the operator's commands) stays with the executable.
import { cpSync, existsSync } from "node:fs";
import { RUN_DIRECTORY } from "./layout.ts";

export interface DenoMesh {
  /** The file of a Deno on this machine. */
  readonly runtime: string;
  /** The bundle's directory. */
  readonly bundle: string;
}

/** Where they appear inside every host. */
export const DENO_IN_HOST = `${RUN_DIRECTORY}/bin/deno`;
const BUNDLE_IN_HOST = `${RUN_DIRECTORY}/deno`;

const HOW_TO_GET_ONE =
  "run `IRONMESH_DENO=$(bash .ci/deno)`, `export IRONMESH_DENO` and `bun build.ts --runtime deno` in Ironmesh's sources, and the demo from there";

/** Or what is missing, in words. */
export function findDeno(): DenoMesh | string {
  const runtime = process.env["IRONMESH_DENO"];
  const bundle = process.env["IRONMESH_DENO_BUNDLE"] ?? "dist/deno";
  if (runtime === undefined || !existsSync(runtime))
    return `A mesh under Deno needs a Deno in IRONMESH_DENO: ${HOW_TO_GET_ONE}.`;
  if (!existsSync(`${bundle}/cli/main.js`))
    return `A mesh under Deno needs the bundle in ${bundle}: ${HOW_TO_GET_ONE}.`;
  return { runtime, bundle };
}

export const copyBundle = ({ bundle }: DenoMesh): void =>
  cpSync(bundle, BUNDLE_IN_HOST, { recursive: true });

/** Nothing that Deno compiles is kept: agents and server have no directory in common that they may write. A directory that is not
 *  there would be made, as root anywhere. */
export const DENO_COMMAND: readonly string[] = [
  "env",
  "DENO_DIR=/dev/null",
  "DENO_NO_UPDATE_CHECK=1",
  DENO_IN_HOST,
  "run",
  "--allow-all",
  "--no-check",
  "--no-config",
  "--no-remote",
  "--quiet",
  `${BUNDLE_IN_HOST}/cli/main.js`,
];
