import { expect, test } from "bun:test";
import { readResources } from "../../agent/api/read-yaml.ts";
import { HOSTS, UID } from "./layout.ts";
import { YAML_SOURCES } from "./yaml-sources.ts";

test.each(Object.entries(YAML_SOURCES))("%s is read without a problem", (file, text) => {
  const { problems, resources } = readResources(text, file);
  expect(problems).toEqual([]);
  expect(resources.length).toBeGreaterThan(0);
});

test("the bookstore declares every program of the demo on its host, under its user", () => {
  const { resources } = readResources(YAML_SOURCES["bookstore.yaml"], "bookstore.yaml");
  const declared = resources.flatMap(({ metadata, spec }) => {
    const { hosts, process } = spec as { hosts: string[]; process: { uid: number } };
    return hosts.map((host) => `${metadata.name} ${host} ${process.uid}`);
  });
  const run = HOSTS.flatMap(({ name, programs }) =>
    programs.map((program) => `${program} ${name} ${UID[program]}`),
  );
  expect(declared.sort()).toEqual(run.sort());
});
