// The same sources under Deno, as child processes of it: the suites of what differs between the runtimes (libc and the loop on it, TLS,
// threads, the embedded store), and a config server with the commands that an operator gives it.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deno, denoEnvironment } from "./deno.ts";

if (deno !== undefined) underDeno(deno);

function underDeno(deno: string): void {
  setDefaultTimeout(300_000);
  const RUN = ["run", "--allow-all", "--no-check", "--no-remote", "--quiet"];
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "ironmesh-deno-"));
    chmodSync(directory, 0o700);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  /** Runs them under Deno and under the runtime of this test: as many pass there as here, but for those named in `skipped`. */
  function suites(files: readonly string[], skipped: readonly string[] = []): string {
    const words = [
      ...RUN,
      "--import-map",
      "test/deno/import-map.json",
      "test/deno/run.ts",
      ...files,
    ];
    const skips = skipped.flatMap((name) => ["--skip", name]);
    const env = { ...denoEnvironment(directory), IRONMESH_POISON: "1" };
    const ran = spawnSync(deno, [...words, ...skips], { encoding: "utf8", env });
    const said = ran.stdout + ran.stderr;
    if (ran.status !== 0) throw new Error(said);
    expect(/^(\d+) passed, 0 failed$/m.exec(said)?.[1]).toBe(
      String(passHere(files) - skipped.length),
    );
    return said;
  }

  function passHere(files: readonly string[]): number {
    const ran = spawnSync(
      process.execPath,
      ["test", "--timeout", "60000", ...files.map((file) => `./${file}`)],
      {
        encoding: "utf8",
        env: { ...process.env, IRONMESH_POISON: "1" },
      },
    );
    const count = /^ *(\d+) pass$/m.exec(ran.stderr)?.[1];
    if (ran.status !== 0 || count === undefined) throw new Error(ran.stdout + ran.stderr);
    return Number(count);
  }

  test("the loop, TCP with and without io_uring, and addresses pass their own suites", () => {
    const files = ["loop", "tcp", "uring", "address", "route", "local-http", "listener-store"];
    // Deno closes a listener's descriptor a turn late: not one that is closed before it listens, as that test does.
    const closedAtOnce =
      "the admin socket is for its owner and group alone, answers on kept connections, and replaces what a killed agent left";
    const said = suites(
      files.map((name) => `agent/os/${name}.test.ts`),
      [closedAtOnce],
    );
    expect(said.match(/10 MB come back unchanged/g)).toHaveLength(2); // both ways of making a call
  });

  test("mesh TLS passes its own suite, but for sessions: every connection is a full handshake", () => {
    suites(
      ["agent/os/mesh-tls.test.ts"],
      [
        "and both ends know each other as before",
        "but not after either end's trust changed, or the server's certificate",
      ],
    );
  });

  test("memory is given back as on Bun, but for short-lived buffers: V8 collects those by itself", () => {
    const byJsc = "buffers of events that are over are collected when there are 4 MiB of them";
    suites(["agent/os/memory.test.ts"], [byJsc]);
  });

  test("the embedded store passes the contract of stores", () => {
    suites(["registry/store/sqlite.test.ts"]);
  });

  test("a config server takes what an operator applies, and shows it, also after a restart", async () => {
    const state = join(directory, "server");
    const env = { ...denoEnvironment(directory), IRONMESH_CONFIG: join(directory, "contexts") };
    const meshctl = (...words: readonly string[]): string => {
      const ran = spawnSync(deno, [...RUN, "cli/main.ts", ...words], { encoding: "utf8", env });
      if (ran.status !== 0)
        throw new Error(`meshctl ${words.join(" ")}: ${ran.stdout}${ran.stderr}`);
      return ran.stdout;
    };
    const serve = async () => {
      const words = ["server", "--state-dir", state, "--listen", "127.0.0.1:0", "--advertise"];
      const server = spawn(deno, [...RUN, "cli/main.ts", ...words, "127.0.0.1"], { env });
      let said = "";
      const ended = new Promise<number | null>((resolve) => server.once("exit", resolve));
      const url = await new Promise<string>((resolve, reject) => {
        void ended.then((code) => reject(new Error(`the server ended with ${code}: ${said}`)));
        server.stderr.on("data", (text) => {
          said += String(text);
        });
        server.stdout.on("data", (text) => {
          said += String(text);
          const port = /"port":(\d+)/.exec(said)?.[1];
          const found = /^config server +(\S+)$/m.exec(said)?.[1];
          if (found !== undefined)
            resolve(port === undefined ? found : `https://127.0.0.1:${port}`);
        });
      });
      return { url, stop: () => (server.kill("SIGTERM"), ended) };
    };
    const first = await serve();
    const caSha256 = readFileSync(join(state, "ca-sha256"), "utf8").trim();
    const known = ["--ca-sha256", caSha256, "--token-file", join(state, "operator-token")];
    meshctl("login", first.url, ...known);
    meshctl("apply", "-f", "cli/demo/examples/canary-90-10.yaml");
    expect(meshctl("get", "virtualservices")).toMatch(/^VirtualService +default +reviews/m);
    expect(
      meshctl("token", "create", "--host", "vm1", "--service-account", "default/reviews"),
    ).toMatch(/im1\.\S{100}/);
    expect(await first.stop()).toBe(0);
    const second = await serve();
    meshctl("login", second.url, ...known);
    expect(meshctl("get", "virtualservices")).toMatch(/^VirtualService +default +reviews/m);
    expect(await second.stop()).toBe(0);
  });
}
