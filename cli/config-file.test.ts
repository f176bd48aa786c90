import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { meshctl } from "../test/support/cli-terminal.ts";
import { parseAgentOptions } from "./agent-options.ts";
import type { ServerOptions } from "./programs.ts";

const directory = mkdtempSync(join(tmpdir(), "im-config-"));
afterAll(() => rmSync(directory, { recursive: true }));
const file = (text: string): string => {
  const path = join(directory, "some.conf");
  writeFileSync(path, text);
  return path;
};

test("a file of options says what the command line would, and the command line wins", () => {
  const path = file(
    "# ours\n\nmetrics 10.0.0.5:15020\n  no-dns\nmode all\nexclude-port 22\nexclude-port 23\n",
  );
  const options = parseAgentOptions(["--config", path, "--metrics", "127.0.0.1:1"]);
  expect(options).toMatchObject({
    metricsAddress: "127.0.0.1",
    metricsPort: 1,
    dns: false,
    mode: "all",
    excludePorts: [22, 23],
  });
});

test("limits of HTTP have their defaults, and bounds", () => {
  expect(parseAgentOptions([]).http).toEqual({
    headersMax: 100,
    headerTimeoutMs: 10_000,
    bodyTimeoutMs: 60_000,
  });
  const words = [
    "--http-headers-max",
    "250",
    "--http-header-seconds",
    "3",
    "--http-body-seconds",
    "0",
  ];
  expect(parseAgentOptions(words).http).toEqual({
    headersMax: 250,
    headerTimeoutMs: 3_000,
    bodyTimeoutMs: 0,
  });
  expect(() => parseAgentOptions(["--http-headers-max", "1001"])).toThrow("from 10 to 1000");
  expect(() => parseAgentOptions(["--http-header-seconds", "0"])).toThrow("from 1 to 3600");
});

const REFUSED: readonly [name: string, text: string, says: string][] = [
  ["an unknown option", "metrix 1", "metrix"],
  ["a line with dashes", "--no-dns", ":1: "],
  ["a value where none belongs", "no-dns yes", "no-dns"],
  ["a wrong value", "\nmode everything", "everything"],
  ["another file", "config /etc/other.conf", "cannot name another"],
  ["exclusions that would be ignored", "exclude-port 22", "--mode all"],
  ["an exclusion that is no block", "mode all\nexclude-cidr 10.0.0.0/40", "10.0.0.0/40"],
];
for (const [name, text, says] of REFUSED) {
  test(`--check-config refuses ${name}, with exit code 2`, async () => {
    const { exitCode, err } = await meshctl(["agent", "--check-config", file(text)]);
    expect({ exitCode, says: err.includes(says) }).toEqual({ exitCode: 2, says: true });
  });
}

test("--check-config starts nothing: not the agent, not the server", async () => {
  const agent = await meshctl(["agent", "--check-config", file("access-log errors\n")]);
  expect(agent).toMatchObject({ exitCode: 0, err: "" });
  const server = await meshctl(["server", "--check-config", file("advertise 10.0.0.5\n")]);
  expect(server).toMatchObject({ exitCode: 0, err: "" });
  const wrong = await meshctl(["server", "--check-config", file("advertize 10.0.0.5\n")]);
  expect(wrong.exitCode).toBe(2);
  expect(wrong.err).toContain("advertize");
  expect((await meshctl(["server", "--check-config", join(directory, "none")])).exitCode).toBe(2);
});

test("the server's file of options yields to its command line, option by option", async () => {
  const seen: ServerOptions[] = [];
  const server = (options: ServerOptions): Promise<number> => {
    seen.push(options);
    return Promise.resolve(0);
  };
  const path = file(
    "state-dir /srv/a\nadvertise https://10.0.0.5\nadvertise b.example\nlog-level warn\n",
  );
  await meshctl(["server", "--config", path], { programs: { server } });
  await meshctl(["server", "--config", path, "--state-dir", "/srv/b"], { programs: { server } });
  const advertise = ["10.0.0.5", "b.example"];
  const both = {
    advertise,
    logLevel: "warn" as const,
    isNewEpoch: false,
    registry: "embedded" as const,
  };
  expect(seen).toEqual([
    { ...both, stateDir: "/srv/a" },
    { ...both, stateDir: "/srv/b" },
  ]);
});
