// A `meshctl` that is the bundle under Deno, for tests that start one file: a script, and beside it what it runs, readable by all.
import {
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export const BUNDLE = "dist/deno";

interface Launcher {
  readonly directory: string;
  readonly path: string;
}

/** Throws when there is no bundle. `directory` is to be removed by who asked. `keepFor`: users for whom Deno keeps what it compiled, in
 *  a place of each one's own, as operators are told to; for all others it keeps nothing. */
export function makeLauncher(deno: string, keepFor: readonly number[] = []): Launcher {
  if (!existsSync(`${BUNDLE}/cli/main.js`))
    throw new Error(`no bundle in ${BUNDLE}: run bun build.ts --runtime deno`);
  const directory = mkdtempSync(join(tmpdir(), "ironmesh-deno-"));
  chmodSync(directory, 0o755);
  copyFileSync(deno, join(directory, "deno"));
  chmodSync(join(directory, "deno"), 0o755);
  cpSync(BUNDLE, join(directory, "bundle"), { recursive: true });
  for (const uid of keepFor) {
    mkdirSync(join(directory, `kept-${uid}`), { mode: 0o700 });
    chownSync(join(directory, `kept-${uid}`), uid, uid);
  }
  const path = join(directory, "meshctl");
  const flags = "--allow-all --no-check --no-config --no-remote --quiet";
  writeFileSync(
    path,
    `#!/bin/sh\nexport DENO_DIR=/dev/null DENO_NO_UPDATE_CHECK=1\n${keepFor.length === 0 ? "" : `kept=${directory}/kept-$(id -u); [ ! -d "$kept" ] || DENO_DIR=$kept\n`}exec ${directory}/deno run ${flags} ${directory}/bundle/cli/main.js "$@"\n`,
    { mode: 0o755 },
  );
  return { directory, path };
}
