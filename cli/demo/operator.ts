// The demo's operator: does everything through the same commands a person would paste, against the config server inside the lab.
import type { MeshStatus } from "../../agent/api/operator-api.ts";
import { type ExampleName, examplePath } from "./run-directory.ts";
import { type Finished, run } from "./shell.ts";

/** Name of the CLI context that the demo makes. */
export const CONTEXT = "demo";

/** A moment after which the mesh is expected to have changed. */
export interface Applied {
  readonly startedMs: number;
  /** When the command returned: the server had stored the change. */
  readonly doneMs: number;
}

export class Operator {
  readonly #meshctl: readonly string[];
  readonly #env: { readonly [name: string]: string };

  /** `contextsFile`: undefined leaves the context where the operator's own commands look for it. */
  constructor(meshctl: readonly string[], contextsFile: string | undefined) {
    this.#meshctl = meshctl;
    this.#env = {
      NO_COLOR: "1",
      IRONMESH_CONTEXT: CONTEXT,
      ...(contextsFile === undefined ? {} : { IRONMESH_CONFIG: contextsFile }),
    };
  }

  /** The command as a person would paste it. */
  commandLine(): string {
    return this.#meshctl.join(" ");
  }

  run(...args: readonly string[]): Promise<Finished> {
    return run([...this.#meshctl, ...args], { env: this.#env });
  }

  async runOrThrow(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...args);
    if (code === 0) return stdout;
    throw new Error(`meshctl ${args.join(" ")} ended with ${code}: ${(stderr || stdout).trim()}`);
  }

  async apply(name: ExampleName): Promise<Applied> {
    const startedMs = performance.now();
    await this.runOrThrow("apply", "-f", examplePath(name));
    return { startedMs, doneMs: performance.now() };
  }

  async delete(kind: string, name: string): Promise<void> {
    await this.runOrThrow("delete", kind, name);
  }

  async createToken(host: string, serviceAccounts: readonly string[]): Promise<string> {
    const grants = serviceAccounts.flatMap((account) => ["--service-account", account]);
    const stdout = await this.runOrThrow("token", "create", "--host", host, ...grants);
    const token = /im1\.[A-Za-z0-9_-]+/.exec(stdout)?.[0];
    if (token === undefined) throw new Error("meshctl token create printed no token");
    return token;
  }

  async status(): Promise<MeshStatus> {
    return JSON.parse(await this.runOrThrow("status", "-o", "json")) as MeshStatus;
  }
}
