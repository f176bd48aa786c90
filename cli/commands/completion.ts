import type { Command } from "commander";
import { usage } from "../failure.ts";
import { KIND_WORDS } from "../kinds.ts";
import { FORMATS } from "../output.ts";
import { type AddCommand, examples } from "../surroundings.ts";

export const addCompletion: AddCommand = (program, { terminal }) => {
  const command = program
    .command("completion")
    .summary("completion for a shell")
    .description("Prints a script that completes meshctl's commands and options.")
    .argument("<shell>", "bash or zsh")
    .action((shell: string) => terminal.out(completionScript(program, shell)));
  examples(
    command,
    "source <(meshctl completion bash)",
    "meshctl completion zsh > ~/.zfunc/_meshctl   # a folder of $fpath",
  );
};

/** The words that may follow each command path, from the commands themselves. */
export function completionScript(program: Command, shell: string): string {
  if (shell !== "bash" && shell !== "zsh")
    throw usage(`${JSON.stringify(shell)} is no shell we complete in`, "known are bash, zsh");
  const cases = pathsOf(program, []).map(
    ([path, words]) => `    ${JSON.stringify(path)}) words=${JSON.stringify(words.join(" "))} ;;`,
  );
  // zsh runs bash's completions through its own layer.
  const layer =
    shell === "zsh" ? "#compdef meshctl\nautoload -U +X bashcompinit && bashcompinit\n" : "";
  return `${layer}${FUNCTION.replace("@CASES@", cases.join("\n"))}`;
}

function pathsOf(command: Command, path: readonly string[]): [string, string[]][] {
  const below = command.commands.filter((c) => c.name() !== "help");
  const words = [
    ...below.map((c) => c.name()),
    ...(path.length === 1 && ["get", "delete"].includes(path[0] ?? "") ? KIND_WORDS : []),
    ...command.options.flatMap((o) => [o.short, o.long].filter((flag) => flag !== undefined)),
    "--help",
  ];
  return [[path.join(" "), words], ...below.flatMap((c) => pathsOf(c, [...path, c.name()]))];
}

const FUNCTION = `_meshctl() {
  local cur prev path words i
  cur="\${COMP_WORDS[COMP_CWORD]}"
  prev="\${COMP_WORDS[COMP_CWORD-1]}"
  case "$prev" in
    -o|--output) COMPREPLY=($(compgen -W "${FORMATS.join(" ")}" -- "$cur")); return ;;
    -f|--filename|--token-file|--admin) COMPREPLY=($(compgen -f -- "$cur")); return ;;
  esac
  path=""
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${COMP_WORDS[i]}" in -*) break ;; esac
    path="\${path:+$path }\${COMP_WORDS[i]}"
  done
  words=""
  while :; do
    case "$path" in
@CASES@
    esac
    [ -n "$words" ] && break
    [ -z "$path" ] && break
    case "$path" in *" "*) path="\${path% *}" ;; *) path="" ;; esac
  done
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -F _meshctl meshctl`;
