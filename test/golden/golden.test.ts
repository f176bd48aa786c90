// Policies and what they compile to, one folder a case: mesh.yaml is what a person writes, host.txt (default: the first host by
// name) whose agent compiles it, snapshot.json what that agent then runs, problems included. UPDATE_GOLDEN=1 writes them anew;
// read the difference before committing it (`biome check --write test/golden` settles its form).
import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { readResources } from "../../agent/api/read-yaml.ts";
import { readWorkload } from "../../agent/api/resource.ts";
import type { ResourceDocument } from "../../agent/api/session.ts";
import { PortBook, SlotBook } from "../../agent/policy/books.ts";
import { compile } from "../../agent/policy/compile.ts";
import { EmbeddedCatalog } from "../../registry/catalog/embedded.ts";

const cases = readdirSync(import.meta.dir, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name)
  .sort();

const textOf = async (path: string): Promise<string | undefined> => {
  const file = Bun.file(`${import.meta.dir}/${path}`);
  return (await file.exists()) ? await file.text() : undefined;
};

/** Every host a Workload names has joined, may run what is asked of it, and has an address of each family, by its rank. */
function catalogOf(resources: readonly ResourceDocument[]) {
  const workloads = resources.filter((doc) => doc.kind === "Workload");
  const names = [...new Set(workloads.flatMap((doc) => readWorkload(doc).hosts))].sort();
  const accounts = workloads.map(
    (doc) => `${doc.metadata.namespace}/${readWorkload(doc).serviceAccount}`,
  );
  const hosts = names.map((name, i) => ({
    name,
    serviceAccounts: accounts,
    addresses: [`10.0.0.${i + 1}`, `fd00::${i + 1}`],
  }));
  const view = new EmbeddedCatalog().view({
    resources,
    hosts,
    reservations: [],
    discovered: [],
    nowMs: 0,
  });
  if (!view.ok) throw new Error(JSON.stringify(view.error));
  return { hosts, ...view.value };
}

async function compileCase(name: string) {
  const read = readResources((await textOf(`${name}/mesh.yaml`)) ?? "", "mesh.yaml");
  expect(read.problems).toEqual([]);
  const { hosts, services, endpoints } = catalogOf(read.resources);
  const wanted = (await textOf(`${name}/host.txt`))?.trim();
  const host = hosts.find((h) => h.name === (wanted ?? hosts[0]?.name));
  if (host === undefined) throw new Error(`${name}: no Workload names host ${wanted}`);
  return compile({
    epoch: 1,
    version: 1,
    mesh: {
      trustDomain: "lab.example",
      rootNamespace: "istio-system",
      outboundPolicy: "allow_any",
    },
    host,
    resources: read.resources,
    services,
    endpoints,
    slots: new SlotBook(64, 65_536).draft(),
    ports: new PortBook().draft(),
  });
}

describe("each golden policy compiles to the snapshot that stands beside it", () => {
  test("there are cases at all", () => expect(cases.length).toBeGreaterThan(11));

  for (const name of cases) {
    test(name, async () => {
      const compiled = await compileCase(name);
      const path = `${name}/snapshot.json`;
      if (process.env["UPDATE_GOLDEN"] === "1")
        await Bun.write(`${import.meta.dir}/${path}`, `${JSON.stringify(compiled, null, 1)}\n`);
      const expected: unknown = JSON.parse((await textOf(path)) ?? "null");
      expect(JSON.parse(JSON.stringify(compiled))).toEqual(expected);
    });
  }
});
