// How the demo starts further processes of itself. The executable is the only thing that is certain on the machine, so it is also
// the interpreter of the bookstore's scripts (BUN_BE_BUN), and of the demo's own helpers (`meshctl demo part NAME`).

/** Arguments that start meshctl: the compiled executable alone, or the runtime with the source file. */
export function meshctlCommand(): readonly string[] {
  const [, script = ""] = process.argv;
  return script.startsWith("/$bunfs/") ? [process.execPath] : [process.execPath, script];
}

/** Environment under which the executable runs a script file as a plain runtime would. */
export const SCRIPT_ENVIRONMENT = { BUN_BE_BUN: "1" };
