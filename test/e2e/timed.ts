// Groups of tests that say how long they took: those with programs that nobody here wrote.
import { afterAll, beforeAll, describe } from "bun:test";

/** Nothing where they `can` not run. */
export function timed(can: boolean, name: string, tests: () => void): void {
  if (!can) return;
  describe(name, () => {
    let beganMs = 0;
    beforeAll(() => {
      beganMs = performance.now();
    });
    afterAll(() => console.log(`${name}: ${Math.round(performance.now() - beganMs)} ms`));
    tests();
  });
}
