// A directory that every user may read and run from. A checkout under /root is closed to the users that tests act as: the runtime
// and the programs they run are copied here, and children start here.
import { chmodSync, copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class PublicPlace {
  readonly directory: string;
  /** The JavaScript runtime. */
  readonly runtime: string;
  readonly #programs = new Map<string, Promise<string>>();

  constructor(name: string) {
    this.directory = mkdtempSync(join(tmpdir(), `${name}-`));
    chmodSync(this.directory, 0o755);
    this.runtime = this.copy(process.execPath, "runtime");
  }

  remove(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  copy(from: string, name: string): string {
    const path = join(this.directory, name);
    copyFileSync(from, path);
    chmodSync(path, 0o755);
    return path;
  }

  /** One TypeScript program with everything it imports, as a file the runtime can run. Made once, however many ask. */
  program(source: string): Promise<string> {
    const made = this.#programs.get(source) ?? this.#build(source);
    this.#programs.set(source, made);
    return made;
  }

  async #build(source: string): Promise<string> {
    const built = await Bun.build({ entrypoints: [source], target: "bun", outdir: this.directory });
    const path = built.outputs[0]?.path;
    if (path === undefined) throw new Error(`${source} does not build`);
    chmodSync(path, 0o644);
    return path;
  }
}
