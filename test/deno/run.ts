// Test files under Deno: deno run -A --no-check --import-map test/deno/import-map.json test/deno/run.ts FILE... [--skip NAME]...
// Ends with a line `N passed, N failed`, and with 1 if any failed or none was found.
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { runSuite, takeSuite } from "./bun-test.ts";

const { values, positionals } = parseArgs({
  options: { skip: { type: "string", multiple: true, default: [] } },
  allowPositionals: true,
});
const skipped = new Set(values.skip);
const unknown = new Set(values.skip);
const total = { passed: 0, failed: 0 };
for (const file of positionals) {
  await import(pathToFileURL(resolve(file)).href);
  const isWanted = (name: string): boolean => {
    unknown.delete(name);
    return !skipped.has(name);
  };
  const { passed, failed } = await runSuite(takeSuite(), (line) => console.log(line), isWanted);
  total.passed += passed;
  total.failed += failed;
}
for (const name of unknown) console.log(`(fail) there is no test to skip: ${name}`);
console.log(`${total.passed} passed, ${total.failed + unknown.size} failed`);
process.exit(total.failed + unknown.size === 0 && total.passed > 0 ? 0 : 1);
