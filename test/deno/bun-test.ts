// `bun:test` for suites that run under Deno (an import map sets it in its place, import-map.json): test, describe, the hooks, and the
// matchers that those suites use. What is not here is missing at import or throws, so no suite passes by what it did not check.
import { deepEqual, isSubset } from "./equality.ts";

type Body = () => void | Promise<void>;
interface Case {
  readonly name: string;
  readonly run: Body;
  readonly timeoutMs: number | undefined;
  readonly scope: Scope;
}
interface Scope {
  readonly name: string;
  readonly parent: Scope | undefined;
  readonly beforeAll: Body[];
  readonly afterAll: Body[];
  readonly beforeEach: Body[];
  readonly afterEach: Body[];
  readonly cases: (Case | Scope)[];
}

const scopeOf = (name: string, parent?: Scope): Scope => ({
  ...{ name, parent, beforeAll: [], afterAll: [], beforeEach: [], afterEach: [], cases: [] },
});
/** A file's own, until `takeSuite` hands it over. */
let root = scopeOf("");
let scope = root;

export function takeSuite(): Scope {
  const suite = root;
  root = scopeOf("");
  scope = root;
  return suite;
}

export function test(name: string, run: Body, timeoutMs?: number): void {
  scope.cases.push({ name, run, timeoutMs, scope });
}
export function describe(name: string, define: () => void): void {
  const inner = scopeOf(name, scope);
  scope.cases.push(inner);
  scope = inner;
  define();
  scope = inner.parent ?? root;
}
describe.skipIf = (isSkipped: boolean) => (isSkipped ? () => {} : describe);
test.skipIf = (isSkipped: boolean) => (isSkipped ? () => {} : test);
/** Of rows that are one text each, which the name may show once, as %s: bun:test's other forms are not here. */
test.each =
  (rows: readonly string[]) =>
  (name: string, run: (row: string) => void | Promise<void>, timeoutMs?: number): void => {
    const parts = name.split("%s");
    if (rows.length === 0 || rows.some((row) => typeof row !== "string"))
      throw new Error(`test.each of ${shown(rows)}: only texts, and at least one`);
    if (parts.length > 2 || parts.some((part) => /[%$]/.test(part)))
      throw new Error(`test.each names a test ${name}: only one %s is filled in`);
    for (const row of rows) test(parts.join(row), () => run(row), timeoutMs);
  };
export const beforeAll = (run: Body): void => void scope.beforeAll.push(run);
export const afterAll = (run: Body): void => void scope.afterAll.push(run);
export const beforeEach = (run: Body): void => void scope.beforeEach.push(run);
export const afterEach = (run: Body): void => void scope.afterEach.push(run);

const TEST_TIMEOUT_MS = 60_000;

/** Runs one suite in order and tells each case; returns how many passed and failed. `only`: the names to run, default all. */
export async function runSuite(
  suite: Scope,
  tell: (line: string) => void,
  isWanted: (name: string) => boolean,
): Promise<{ passed: number; failed: number }> {
  const count = { passed: 0, failed: 0 };
  for (const hook of suite.beforeAll) await hook();
  for (const one of suite.cases) {
    if ("cases" in one) {
      const inner = await runSuite(one, tell, isWanted);
      count.passed += inner.passed;
      count.failed += inner.failed;
    } else if (isWanted(one.name)) {
      const failure = await failureOf(one);
      if (failure === undefined) count.passed++;
      else count.failed++;
      tell(failure === undefined ? `(pass) ${one.name}` : `(fail) ${one.name}\n${failure}`);
    }
  }
  for (const hook of suite.afterAll) await hook();
  return count;
}

async function failureOf({ run, scope: own, timeoutMs }: Case): Promise<string | undefined> {
  const scopes: Scope[] = [];
  for (let at: Scope | undefined = own; at !== undefined; at = at.parent) scopes.unshift(at);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error("it did not end in time")),
      timeoutMs ?? TEST_TIMEOUT_MS,
    );
  });
  try {
    for (const one of scopes) for (const hook of one.beforeEach) await hook();
    await Promise.race([run(), late]);
    for (const one of scopes) for (const hook of one.afterEach) await hook();
    return undefined;
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  } finally {
    clearTimeout(timer);
  }
}

const shown = (value: unknown): string =>
  typeof value === "bigint" ? `${value}n` : (JSON.stringify(value) ?? String(value));

/** One comparison: what it claims, in words, and whether that holds. */
type Claims = { readonly [matcher: string]: (got: unknown, wanted: never) => boolean };
const CLAIMS = {
  toBe: (got: unknown, wanted: unknown) => Object.is(got, wanted),
  toEqual: (got: unknown, wanted: unknown) => deepEqual(got, wanted),
  toMatchObject: (got: unknown, wanted: unknown) => isSubset(got, wanted),
  toBeUndefined: (got: unknown) => got === undefined,
  toHaveLength: (got: unknown, wanted: number) => (got as { length: number }).length === wanted,
  toContain: (got: unknown, wanted: unknown) =>
    typeof got === "string"
      ? got.includes(String(wanted))
      : [...(got as unknown[])].includes(wanted),
  toBeGreaterThan: (got: unknown, wanted: number) => Number(got) > wanted,
  toBeGreaterThanOrEqual: (got: unknown, wanted: number) => Number(got) >= wanted,
  toBeLessThan: (got: unknown, wanted: number) => Number(got) < wanted,
  toBeLessThanOrEqual: (got: unknown, wanted: number) => Number(got) <= wanted,
  toMatch: (got: unknown, wanted: RegExp) => wanted.test(String(got)),
  toThrow: (got: unknown, wanted: Thrown) => throwsWith(got as () => unknown, wanted),
} satisfies Claims;

type Thrown = string | undefined | (new (...words: never[]) => Error);

function throwsWith(run: () => unknown, wanted: Thrown): boolean {
  try {
    run();
  } catch (error) {
    if (typeof wanted === "function") return error instanceof wanted;
    return wanted === undefined || String(error).includes(wanted);
  }
  return false;
}

type Expectations = { readonly [matcher in keyof typeof CLAIMS]: (wanted?: unknown) => void };

export function expect(got: unknown): Expectations & { readonly not: Expectations } {
  const matchers = (isWanted: boolean): Expectations =>
    Object.fromEntries(
      Object.entries(CLAIMS).map(([name, holds]) => [
        name,
        (wanted?: unknown) => {
          if (holds(got, wanted as never) === isWanted) return;
          const not = isWanted ? "" : "not.";
          throw new Error(`expect(${shown(got)}).${not}${name}(${shown(wanted)}) does not hold`);
        },
      ]),
    ) as Expectations;
  return { ...matchers(true), not: matchers(false) };
}
