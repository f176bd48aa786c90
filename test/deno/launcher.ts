// A `meshctl` that is the bundle under Deno, for tests that start one file: a script, and beside it what it runs, readable by all.
import { chmodSync, copyFileSync, cpSync, existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const BUNDLE = "dist/deno";

/** Throws when there is no bundle. `directory` is to be removed by who asked. */
export function makeLauncher(deno: string): { readonly directory: string; readonly path: string } {
  if (!existsSync(`${BUNDLE}/cli/main.js`))
    throw new Error(`no bundle in ${BUNDLE}: run bun build.ts --runtime deno`);
  const directory = mkdtempSync(join(tmpdir(), "ironmesh-deno-"));
  chmodSync(directory, 0o755);
  copyFileSync(deno, join(directory, "deno"));
  chmodSync(join(directory, "deno"), 0o755);
  cpSync(BUNDLE, join(directory, "bundle"), { recursive: true });
  const path = join(directory, "meshctl");
  const flags = "--allow-all --no-check --no-config --no-remote --quiet";
  writeFileSync(
    path,
    `#!/bin/sh\nexport DENO_DIR=/dev/null DENO_NO_UPDATE_CHECK=1\nexec ${directory}/deno run ${flags} ${directory}/bundle/cli/main.js "$@"\n`,
    { mode: 0o755 },
  );
  return { directory, path };
}
