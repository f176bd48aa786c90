// Where Deno is, and what every child of it is told.
import { join } from "node:path";

/** Undefined: only the full tier fetches it (IRONMESH_DENO=$(bash .ci/deno)). */
export const deno = process.env["IRONMESH_DENO"];
if (deno === undefined)
  console.error(
    "no tests under Deno: IRONMESH_DENO=$(bash .ci/deno) names one, as the full tier does",
  );

/** `directory`: what it compiled is kept there. */
export const denoEnvironment = (directory: string): NodeJS.ProcessEnv => ({
  ...process.env,
  DENO_DIR: join(directory, "deno"),
  DENO_NO_UPDATE_CHECK: "1",
  NO_COLOR: "1",
});
