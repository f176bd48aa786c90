import { isHostName } from "../../agent/api/join-token.ts";
import { usage } from "../failure.ts";
import { print } from "../output.ts";
import {
  type AddCommand,
  clientOf,
  examples,
  type OutputOptions,
  type ServerOptions,
  type Surroundings,
  withOutput,
  withServer,
} from "../surroundings.ts";

type ExpelOptions = OutputOptions & ServerOptions;

export const addExpel: AddCommand = (program, around) => {
  const command = program
    .command("expel")
    .summary("take a host out of the mesh that does not leave by itself")
    .description(
      "The config server forgets the host: its session and its endpoints end at once, it gets no certificate and no configuration any more, and its name is free. Certificates it holds are good at other hosts until they expire, at most 24 h; it is not told to stop what it runs. A host that can be reached leaves by `meshctl leave`.",
    )
    .argument("<host>", "its name in the mesh")
    .action((host: string, options: ExpelOptions) => expel(around, host, options));
  withServer(withOutput(command));
  examples(command, "meshctl expel vm1");
};

async function expel(around: Surroundings, host: string, options: ExpelOptions): Promise<void> {
  if (!isHostName(host)) throw usage(`${JSON.stringify(host)} is no host name`);
  const { epoch, version } = await clientOf(around, options).expel(host);
  const table = () => ({
    columns: [],
    rows: [],
    empty: `${host} is a member no more, as of version ${epoch}.${version}`,
  });
  await print(around.terminal, options.output, { host, epoch, version }, table);
}
