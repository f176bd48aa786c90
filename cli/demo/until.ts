// Waiting for what must come, with an end to patience and a word on what was seen last.
import { LOGS } from "./run-directory.ts";

export async function until(
  what: string,
  withinMs: number,
  holds: () => Promise<boolean>,
  last: () => string = () => "",
): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await holds())) {
    if (performance.now() > deadline) {
      const seen = last();
      throw new Error(
        `${what} did not come within ${withinMs / 1000} s${seen === "" ? "" : ` (last: ${seen})`}; see the logs under ${LOGS}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
