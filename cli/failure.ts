// What ends a command: told in one place (run.ts), with the next action and an exit code.

export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;

export class CommandFailure extends Error {
  readonly exitCode: number;
  /** What to do now; printed on a line of its own. */
  readonly next: string | undefined;

  constructor(message: string, next?: string, exitCode = EXIT_FAILED) {
    super(message);
    this.exitCode = exitCode;
    this.next = next;
  }
}

export const usage = (message: string, next?: string): CommandFailure =>
  new CommandFailure(message, next, EXIT_USAGE);
