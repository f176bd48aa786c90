import { DEFAULT_NAMESPACE, KINDS, titleOf } from "../../agent/api/resource.ts";
import type { ResourceDocument } from "../../agent/api/session.ts";
import { usage } from "../failure.ts";
import { parseTarget } from "../kinds.ts";
import { readValidFiles } from "../resource-files.ts";
import { Refusal } from "../server-client.ts";
import {
  type AddCommand,
  clientOf,
  examples,
  type FileOptions,
  type ServerOptions,
  type Surroundings,
  withFiles,
  withServer,
} from "../surroundings.ts";

interface DeleteOptions extends FileOptions, ServerOptions {
  readonly namespace: string;
  readonly ignoreNotFound?: true;
}
type Target = Omit<ResourceDocument, "spec">;

export const addDelete: AddCommand = (program, around) => {
  const command = program
    .command("delete")
    .summary("remove resources")
    .description("Removes one resource by KIND and NAME, or all that stand in files.")
    .argument("[kind]", "KIND or KIND/NAME")
    .argument("[name]")
    .option("-n, --namespace <name>", "its namespace", DEFAULT_NAMESPACE)
    .option("--ignore-not-found", "what is not there is as good as removed")
    .action((kind: string | undefined, name: string | undefined, options: DeleteOptions) =>
      remove(around, kind, name, options),
    );
  withServer(withFiles(command));
  examples(command, "meshctl delete vs reviews", "meshctl delete -f canary.yaml");
};

async function remove(
  around: Surroundings,
  kind: string | undefined,
  name: string | undefined,
  options: DeleteOptions,
): Promise<void> {
  const targets = await targetsOf(around, kind, name, options);
  const client = clientOf(around, options);
  for (const target of targets) {
    try {
      await client.delete(target);
      around.terminal.out(`${titleOf(target)} deleted`);
    } catch (error) {
      const isGone = error instanceof Refusal && error.code === "not_found";
      if (!isGone || options.ignoreNotFound !== true) throw error;
      around.terminal.out(`${titleOf(target)} was not there`);
    }
  }
}

async function targetsOf(
  { terminal }: Surroundings,
  first: string | undefined,
  second: string | undefined,
  options: DeleteOptions,
): Promise<readonly Target[]> {
  if (first === undefined) {
    if (options.filename.length === 0) throw usage("which resource?", "give KIND NAME, or -f FILE");
    return (await readValidFiles(options.filename, terminal)).resources;
  }
  if (options.filename.length > 0) throw usage("give KIND NAME or -f FILE, not both");
  const { kind, name } = parseTarget(first, second);
  if (name === undefined) throw usage(`which ${kind}?`, "give its name; `meshctl get` lists them");
  const { group, versions } = KINDS[kind];
  const metadata = { name, namespace: options.namespace };
  return [{ apiVersion: `${group}/${versions[0]}`, kind, metadata }];
}
