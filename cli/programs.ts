// The long-running and root-only halves of the executable, which live outside cli/ and are wired in by main.ts; each loads only
// when it runs. They are given the words behind the command and resolve to an exit code.

export type Program = (args: readonly string[]) => Promise<number>;

export interface Programs {
  readonly agent: Program;
  readonly server: Program;
  readonly demo: Program;
  readonly join: Program;
  readonly redirect: Program;
}
export type ProgramName = keyof Programs;
