import type { AddCommand } from "../surroundings.ts";

/** The demo has options of its own and is loaded only when it is asked for. */
export const addDemo: AddCommand = (program, { setExitCode }) => {
  program
    .command("demo")
    .summary("run a whole mesh on this machine to try it")
    .helpOption(false)
    .allowUnknownOption()
    .argument("[options...]")
    .action(async (words: string[]) => {
      const { demo } = await import("../demo/command.ts");
      setExitCode(await demo(words));
    });
};
