import { expect, test } from "bun:test";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { meshctl } from "../test/support/cli-terminal.ts";

const directory = mkdtempSync(join(tmpdir(), "ironmesh-cli-"));
const env = { IRONMESH_CONFIG: join(directory, "contexts.json") };
const COMMANDS = [
  "demo",
  "agent",
  "server",
  "join",
  "leave",
  "expel",
  "login",
  "apply",
  "get",
  "delete",
  "diff",
  "validate",
  "status",
  "explain",
  "check",
  "members",
  "config",
  "redirect",
  "token",
  "version",
  "completion",
];
const WITH_EXAMPLES = COMMANDS.filter((c) => !["demo", "config", "redirect", "token"].includes(c));
const policy = (name: string, spec = "{}") => `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: ${name}}
spec: ${spec}
`;

test("help names every command and ends in 0", async () => {
  const { exitCode, out } = await meshctl(["--help"]);
  expect(exitCode).toBe(0);
  for (const name of COMMANDS) expect(out).toContain(`\n  ${name}`);
});

test("every command's help has examples", async () => {
  const paths = [
    ...WITH_EXAMPLES.map((name) => [name]),
    ...["services", "routes", "endpoints", "certs", "policies"].map((view) => ["config", view]),
    ...["plan", "apply", "status", "remove"].map((verb) => ["redirect", verb]),
    ["token", "create"],
  ];
  for (const path of paths) {
    const { exitCode, out } = await meshctl([...path, "--help"]);
    expect({ path, exitCode, hasExamples: out.includes("Examples:\n  ") }).toEqual({
      path,
      exitCode: 0,
      hasExamples: true,
    });
  }
});

test("what is asked wrongly ends in 2 and says what would be right", async () => {
  const wrong: [words: string[], says: string][] = [
    [["aply"], "Did you mean apply?"],
    [["apply", "--dryrun", "-f", "x"], "--dry-run"],
    [["get"], "missing required argument"],
    [["get", "virtualservicee"], "did you mean virtualservice?"],
    [["get", "vs", "-o", "xml"], "known are table, json, yaml"],
    [["apply"], "-f FILE"],
    [["delete"], "KIND NAME"],
    [["delete", "vs"], "give its name"],
    [["completion", "fish"], "bash, zsh"],
    [["token", "create"], "--host"],
    [["token", "create", "--host", "A_B"], "no host name"],
    [["token", "create", "--host", "a", "--ttl", "soon"], "--ttl must be a duration"],
    [["login", "http://mesh:15010", "--ca-sha256", "0"], "https"],
    [["login", "https://mesh:15010", "--ca-sha256", "00"], "64 hex digits"],
    [["agent", "--workers", "many"], "--workers must be a whole number"],
    [["agent", "--sate-dir", "x"], "agent --help"],
    [["redirect", "plan", "--redirect", "none"], "nothing to do"],
    [["server", "--outbound-policy", "closed"], "allow_any"],
  ];
  for (const [words, says] of wrong) {
    const { exitCode, err } = await meshctl(words, { env });
    expect({ words, exitCode, err }).toEqual({
      words,
      exitCode: 2,
      err: expect.stringContaining(says),
    });
  }
});

test("without a context a command says how to get one", async () => {
  const { exitCode, err } = await meshctl(["status"], { env });
  expect(exitCode).toBe(1);
  expect(err).toContain("meshctl login https://SERVER:15010 --ca-sha256 HASH");
});

test("validate reads files, directories and standard input, and tells every problem with its line", async () => {
  writeFileSync(join(directory, "a.yaml"), policy("a"));
  writeFileSync(join(directory, "b.yml"), policy("b"));
  writeFileSync(join(directory, "README.md"), "not yaml: [");
  const good = await meshctl(["validate", "-f", directory]);
  expect(good).toEqual({ exitCode: 0, out: "2 resources are valid", err: "" });

  const stdin = `${policy("c", "{mtls: {mode: LAX}, slector: {}}")}---\n${policy("d", "[]")}`;
  const bad = await meshctl(["validate", "-f", "-"], { stdin });
  expect(bad.exitCode).toBe(1);
  expect(bad.err.split("\n")).toEqual([
    'stdin:4: error: document 1, PeerAuthentication default/c: spec.mtls.mode must be UNSET or DISABLE or PERMISSIVE or STRICT, not "LAX"',
    "stdin:4: error: document 1, PeerAuthentication default/c: spec.slector is not a field here; did you mean `selector`?",
    "stdin:9: error: document 2, PeerAuthentication default/d: spec must be a mapping, not a list",
  ]);

  const json = await meshctl(["validate", "-f", "-", "-o", "json"], { stdin });
  expect(json.exitCode).toBe(1);
  expect(JSON.parse(json.out)).toMatchObject({ isValid: false, problems: { length: 3 } });
});

test("a resource in two files, and a file that is not there, are told", async () => {
  writeFileSync(
    join(directory, "again.json"),
    JSON.stringify({
      apiVersion: "security.istio.io/v1",
      kind: "PeerAuthentication",
      metadata: { name: "a" },
      spec: {},
    }),
  );
  const twice = await meshctl(["validate", "-f", directory]);
  expect(twice.exitCode).toBe(1);
  expect(twice.err).toContain("PeerAuthentication default/a stands twice");
  const gone = await meshctl(["validate", "-f", join(directory, "gone.yaml")]);
  expect(gone).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining("there is no such file"),
  });
});

test("version prints in all formats", async () => {
  expect((await meshctl(["version"])).out).toMatch(/^meshctl \S+ \(\S+\)$/);
  expect(JSON.parse((await meshctl(["version", "-o", "json"])).out)).toHaveProperty("version");
  expect((await meshctl(["version", "-o", "yaml"])).out).toMatch(/^version: \S+\ncommit: \S+$/);
});

test("colour only where it is wanted", async () => {
  const plain = await meshctl(["status"], { env });
  const coloured = await meshctl(["status"], { env, isColour: true });
  expect(plain.err).not.toContain("\u001b[");
  expect(coloured.err).toContain("\u001b[");
});

test("the bash completion knows commands, subcommands, options and kinds", async () => {
  const { out } = await meshctl(["completion", "bash"]);
  const script = join(directory, "completion.bash");
  writeFileSync(script, out);
  const complete = (...words: string[]): string[] => {
    const text = `source ${script}; COMP_WORDS=(meshctl ${words.map((w) => `'${w}'`).join(" ")}); COMP_CWORD=${words.length}; _meshctl; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const ran = Bun.spawnSync(["bash", "-c", text]);
    return ran.stdout.toString().trim().split("\n");
  };
  expect(complete("app")).toEqual(["apply"]);
  expect(complete("config", "r")).toEqual(["routes"]);
  expect(complete("get", "virt")).toEqual(["virtualservices"]);
  expect(complete("token", "create", "--ho")).toEqual(["--host"]);
  expect(complete("apply", "--w")).toEqual(["--wait"]);
  expect(complete("get", "vs", "-o", "y")).toEqual(["yaml"]);
  const zsh = await meshctl(["completion", "zsh"]);
  expect(zsh.out).toStartWith("#compdef meshctl\n");
});

test("the agent gets its options parsed, with defaults", async () => {
  const started: unknown[] = [];
  const agent = (options: unknown): Promise<void> => {
    started.push(options);
    return Promise.resolve();
  };
  const words = [
    "agent",
    "--state-dir",
    "/s",
    "--metrics",
    "[::1]:1",
    "--mode",
    "all",
    "--exclude-uid",
    "5",
    "--no-dns",
  ];
  expect(await meshctl(words, { programs: { agent } })).toMatchObject({ exitCode: 0, err: "" });
  expect(started).toMatchObject([
    {
      stateDir: "/s",
      adminSocket: "/run/ironmesh/admin.sock",
      metricsAddress: "::1",
      metricsPort: 1,
      redirect: "auto",
      mode: "all",
      dns: false,
      excludeUids: [5],
      excludePorts: [],
    },
  ]);
});

test("join tells what the host is now, or why not and what to do", async () => {
  const join = (token: string) =>
    Promise.resolve(
      token === "im1.good"
        ? { ok: true as const, value: { host: "db-1", trustDomain: "mesh.local" } }
        : { ok: false as const, error: { message: "the token was used", next: "ask for another" } },
    );
  const good = await meshctl(["join", "-", "--no-check"], {
    stdin: "im1.good\n",
    programs: { join },
  });
  expect(good).toMatchObject({ exitCode: 0, out: "db-1 has joined mesh.local" });
  const bad = await meshctl(["join", "im1.bad"], { programs: { join } });
  expect(bad).toMatchObject({ exitCode: 1, err: "error: the token was used\nask for another" });
});

test("join looks at the host afterwards; what it finds, or that it could not, undoes nothing", async () => {
  const value = { host: "db-1", trustDomain: "mesh.local" };
  const join = () => Promise.resolve({ ok: true as const, value });
  const refuseHost = () => Promise.resolve("resolv.conf names 127.0.0.53");
  const fails = { is: "fails", reason: "no nft here" } as const;
  const tryRedirect = () => Promise.resolve(fails);
  const words = ["join", "im1.good", "--state-dir", `${directory}/joined`];
  const told = await meshctl(words, { programs: { join, refuseHost, tryRedirect } });
  expect(told).toMatchObject({ exitCode: 0, out: "db-1 has joined mesh.local" });
  expect(told.err).toMatch(/^this host was checked: \d+ ok, \d+ warnings?, \d+ errors?\n/);
  expect(told.err).toContain("ERROR   resolv.conf names 127.0.0.53");
  expect(told.err).toEndWith(`next: meshctl agent --state-dir ${directory}/joined`);
  const broken = () => Promise.reject(new Error("no such library"));
  const untold = await meshctl(words, { programs: { join, refuseHost: broken, tryRedirect } });
  expect(untold.exitCode).toBe(0);
  expect(untold.err).toContain("could not be checked: no such library");
});

test("redirect status ends in 1 when the host differs from the plan", async () => {
  const redirect = (verb: string) =>
    Promise.resolve(
      verb === "status"
        ? ({ is: "differences", lines: ["a rule is missing"] } as const)
        : ({ is: "failed", reason: "no iptables" } as const),
    );
  expect(await meshctl(["redirect", "status"], { programs: { redirect } })).toEqual({
    exitCode: 1,
    out: "a rule is missing",
    err: "",
  });
  expect(await meshctl(["redirect", "plan"], { programs: { redirect } })).toMatchObject({
    exitCode: 1,
    err: "error: no iptables",
  });
});

test("join --run goes on as the agent of the same state directory, and only after it has joined", async () => {
  const ran: string[] = [];
  const join = (isWelcome: boolean) => async () => {
    ran.push("join");
    return isWelcome
      ? ({ ok: true, value: { host: "vm1", trustDomain: "mesh.local" } } as const)
      : ({ ok: false, error: { message: "the token was used", next: "" } } as const);
  };
  const agent = async ({ stateDir }: { stateDir: string }) => void ran.push(`agent ${stateDir}`);
  const words = ["join", "im1.x", "--run", "--no-check", "--state-dir", "/srv/mesh"];
  expect((await meshctl(words, { programs: { join: join(true), agent } })).exitCode).toBe(0);
  expect(ran).toEqual(["join", "agent /srv/mesh"]);
  expect((await meshctl(words, { programs: { join: join(false), agent } })).exitCode).toBe(1);
  expect(ran).toEqual(["join", "agent /srv/mesh", "join"]);
});

test("a server that cannot have its store says why and what to do, and that is no bug of ours", async () => {
  class StoreUnavailable extends Error {
    readonly next = "start Consul";
  }
  const server = () => Promise.reject(new StoreUnavailable("Consul cannot be reached"));
  expect(await meshctl(["server", "--registry", "consul"], { programs: { server } })).toMatchObject(
    { exitCode: 1, err: "error: Consul cannot be reached\nstart Consul" },
  );
});

test("options of Consul without Consul are refused, not ignored", async () => {
  const server = () => Promise.resolve(0);
  for (const words of [
    ["--consul-address", "http://a:1"],
    ["--registry", "consul", "--consul-address", "http://a:1", "--consul-ca-file", "ca.pem"],
  ])
    expect((await meshctl(["server", ...words], { programs: { server } })).exitCode).toBe(2);
});
