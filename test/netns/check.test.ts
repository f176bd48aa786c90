// `meshctl check` on hosts made of namespaces, with what it is to find really there.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { applyRedirect, removeRedirect } from "../../agent/os/redirect/apply.ts";
import type { Finding } from "../../cli/check/finding.ts";
import { canRun, HOST, Lab } from "./lab.ts";
import { BACKENDS, planned, STRANGER_UID } from "./redirect-plan.ts";

interface Told {
  readonly code: number;
  readonly problems: readonly Finding[];
  readonly all: readonly Finding[];
}

describe.skipIf(!canRun("meshctl check"))("meshctl check", () => {
  let lab: Lab;
  const scratch = mkdtempSync(join(tmpdir(), "im-check-"));
  chmodSync(scratch, 0o755);
  beforeAll(async () => {
    lab = await Lab.up();
  });
  afterAll(async () => {
    await lab.down();
    rmSync(scratch, { recursive: true });
  });

  const meshctl = [process.execPath, resolve("cli/main.ts"), "check", "-o", "json"];
  const options = ["--state-dir", `${scratch}/state`, "--admin-socket", `${scratch}/admin.sock`];
  /** What depends on the machine that runs these tests is left out: who keeps its clock, what else runs on it. */
  const isOfTheLab = ({ group, check }: Finding): boolean =>
    group !== "host" &&
    check !== "daemon" &&
    check !== "demo" &&
    check !== "process" &&
    group !== "names";
  const check = async (first: readonly string[] = []): Promise<Told> => {
    const { code, stdout, stderr } = await lab.runner.run([...first, ...meshctl, ...options]);
    if (stdout === "") throw new Error(stderr);
    const { findings } = JSON.parse(stdout) as { readonly findings: readonly Finding[] };
    const all = findings.filter(isOfTheLab);
    return { code, all, problems: all.filter(({ level }) => level !== "ok") };
  };

  test("a host on which nothing is wrong could join; the redirect was tried without touching it", async () => {
    const before = await lab.dump();
    const { problems, all } = await check();
    expect(problems).toEqual([]);
    expect(all.find(({ check: name }) => name === "trial")?.found).toContain(
      "a redirect by iptables works",
    );
    expect(await lab.dump()).toBe(before);
  });

  test("Istio's rules are found, and what it says to do takes them away and nothing else", async () => {
    const run = (line: string) => lab.runner.run(line.split(" "));
    await run("iptables-nft -t nat -A OUTPUT -p tcp --dport 4444 -j REDIRECT --to-ports 4445");
    // As on a host that a mesh was on: all of the table's own chains are there.
    await lab.runner.run(["sh", "-c", "iptables-nft-save | iptables-nft-restore"]);
    const before = await lab.dump();
    await run("iptables-nft -t nat -N ISTIO_OUTPUT");
    await run("iptables-nft -t nat -A ISTIO_OUTPUT -p tcp -j REDIRECT --to-ports 15001");
    await run("iptables-nft -t nat -A OUTPUT -p tcp -j ISTIO_OUTPUT");
    const { code, problems } = await check();
    expect(code).toBe(1);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatchObject({ group: "leftovers", level: "error" });
    const [, command = ""] = /then: (.+)$/.exec(problems[0]?.next ?? "") ?? [];
    expect((await lab.runner.run(["sh", "-c", command])).code).toBe(0);
    expect((await check()).problems).toEqual([]);
    expect(await lab.dump()).toBe(before);
  });

  test("a rule that comes before ours is found, in iptables and in nft", async () => {
    await applyRedirect(planned(BACKENDS[0]), lab.runner);
    const rule = "-p tcp -m tcp --dport 80 -j REDIRECT --to-ports 3128";
    await lab.runner.run(`iptables -t nat -I OUTPUT 1 ${rule}`.split(" "));
    const order = async () => (await check()).problems.filter((one) => one.check === "order");
    expect((await order())[0]?.next).toEndWith(`iptables-nft -t nat -D OUTPUT ${rule}`);
    await lab.runner.run(`iptables -t nat -D OUTPUT ${rule}`.split(" "));
    expect(await order()).toEqual([]);
    await removeRedirect(lab.runner);
    await applyRedirect(planned(BACKENDS[2]), lab.runner);
    const table =
      "table ip other { chain out { type nat hook output priority -150; tcp dport 80 redirect to :3128; }; }\n";
    await lab.runner.run(["nft", "-f", "-"], table);
    expect((await order())[0]?.next).toContain("nft delete chain ip other out");
    await lab.runner.run(["nft", "delete", "table", "ip", "other"]);
    await removeRedirect(lab.runner);
  });

  test("rules of an agent that is gone are found on a host that is no member", async () => {
    await applyRedirect(planned(BACKENDS[0]), lab.runner);
    const { problems } = await check();
    expect(problems).toMatchObject([{ check: "own-rules", next: "meshctl redirect remove" }]);
    await removeRedirect(lab.runner);
  });

  test("a taken port is told with the process that holds it, on either family", async () => {
    const stranger = await lab.actor("host", STRANGER_UID);
    await stranger.ask({ act: "listenPlain", address: HOST.ip, port: 15_006 });
    await stranger.ask({ act: "listenPlain", address: "::1", port: 15_001 });
    const { code, problems } = await check();
    expect(code).toBe(1);
    expect(problems.map(({ check: name }) => name)).toEqual(["taken", "taken"]);
    for (const { found } of problems) expect(found).toMatch(/pid \d+ \(\S+: .*actor.*\), uid/);
    expect(problems[0]?.found).toContain(`uid ${STRANGER_UID}`);
    stranger.kill();
    await stranger.ended;
  });

  test("a table of connections that is nearly full is told", async () => {
    await lab.runner.run("iptables-nft -A INPUT -m conntrack --ctstate INVALID -j DROP".split(" "));
    const [server, client] = [await lab.actor("host", 0), await lab.actor("peer", 0)];
    await server.ask({ act: "listenPlain", address: HOST.ip, port: 7_300 });
    await client.ask({ act: "dial", address: HOST.ip, port: 7_300, times: 20 });
    // The kernel lets only the machine's first namespace set the limit, and shows it in all: here by another file in its place.
    writeFileSync(`${scratch}/max`, "21\n");
    const script = `mount --bind ${scratch}/max /proc/sys/net/netfilter/nf_conntrack_max && exec "$@"`;
    const { problems } = await check(["unshare", "--mount", "sh", "-c", script, "sh"]);
    expect(problems).toMatchObject([{ check: "table-full", level: "error" }]);
    expect(problems[0]?.found).toMatch(/^\d\d of 21 places are taken/);
    expect((await check()).problems).toEqual([]);
  });

  test("a user who is not root is told what could not be looked at, and nothing is called wrong for it", async () => {
    const { code, problems } = await check([
      "setpriv",
      "--reuid=65534",
      "--regid=65534",
      "--clear-groups",
    ]);
    expect(code).toBe(0);
    expect(problems.every(({ level }) => level === "warning")).toBe(true);
    expect(problems.map(({ check: name }) => name)).toEqual(["trial", "order", "chains"]);
  });
});
