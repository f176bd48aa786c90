// The Ansible roles on three machines that boot, over SSH: from bare to a meshed bookstore, again without a change, an update host by
// host that stops at the first sick one, and back to bare.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { type Finished, run, runOrThrow } from "../../cli/demo/shell.ts";
import { ADDRESS, eventually, Hosts } from "../support/hosts.ts";
import { canBoot, Machine } from "./machine.ts";

setDefaultTimeout(900_000);
const isHere = canBoot("the Ansible roles", ["ansible-playbook", "ansible-lint", "ssh-keygen"]);
const NAMES = ["a", "b", "c"] as const;
const PLAY_MAX_MS = 300_000;

let hosts: Hosts;
const machines = new Map<string, Machine>();
const machine = (name: string): Machine => {
  const found = machines.get(name);
  if (found === undefined) throw new Error(`no machine ${name}`);
  return found;
};

/** The example's inventory with the machines' addresses; store-1 is a, and has the server too. */
function inventory(): string {
  const example = readFileSync("ansible/examples/bookstore/inventory.yml", "utf8");
  const addressed = NAMES.reduce(
    (text, name, i) => text.replaceAll(`10.0.0.1${i + 1}`, ADDRESS[name]),
    example,
  );
  const ssh = [
    `ansible_ssh_private_key_file: ${hosts.directory}/key`,
    'ansible_ssh_common_args: "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"',
    "ansible_python_interpreter: /usr/bin/python3",
  ];
  const here = addressed.replace(
    "{{ inventory_dir }}/../../../dist/meshctl",
    resolve("dist/meshctl"),
  );
  return here.replace(
    "    ansible_user: root\n",
    (line) => `${line}${ssh.map((one) => `    ${one}\n`).join("")}`,
  );
}

beforeAll(async () => {
  if (!isHere) return;
  hosts = await Hosts.up();
  await runOrThrow(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", `${hosts.directory}/key`]);
  const key = readFileSync(`${hosts.directory}/key.pub`, "utf8");
  await Promise.all(
    NAMES.map(async (name) => {
      const made = await Machine.boot(name, hosts.namespaceOf(name));
      machines.set(name, made);
      await made.sh(
        "install -d -m 700 /root/.ssh; ssh-keygen -A >/dev/null; systemctl unmask -q ssh; systemctl start ssh",
      );
      made.write("root/.ssh/authorized_keys", key, 0o600);
    }),
  );
  writeFileSync(`${hosts.directory}/inventory.yml`, inventory());
});
afterAll(async () => {
  if (hosts === undefined) return;
  for (const one of machines.values()) await one.remove();
  await hosts.down();
});

interface Recap {
  readonly ran: Finished;
  /** Host -> its counts. */
  readonly hosts: ReadonlyMap<
    string,
    { readonly ok: number; readonly changed: number; readonly failed: number }
  >;
}

async function play(playbook: string, ...words: readonly string[]): Promise<Recap> {
  const command = [
    "ansible-playbook",
    "-i",
    `${hosts.directory}/inventory.yml`,
    playbook,
    ...words,
  ];
  const env = {
    ANSIBLE_CONFIG: resolve("ansible/ansible.cfg"),
    ANSIBLE_NOCOLOR: "1",
    LC_ALL: "C.UTF-8",
  };
  const within = ["ip", "netns", "exec", hosts.namespaceOf("c")];
  const from = performance.now();
  const ran = await run([...within, ...command], { env, timeoutMs: PLAY_MAX_MS });
  const recap = [
    ...ran.stdout.matchAll(
      /^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)/gm,
    ),
  ];
  console.log(
    `${playbook} ${words.join(" ")}: ${((performance.now() - from) / 1_000).toFixed(0)} s; ${recap.map(([, h, ok, ch, , f]) => `${h} ok=${ok} changed=${ch} failed=${f}`).join(", ")}`,
  );
  const counts = recap.map(
    ([, name = "", ok, changed, unreachable, failed]) =>
      [
        name,
        { ok: Number(ok), changed: Number(changed), failed: Number(failed) + Number(unreachable) },
      ] as const,
  );
  return { ran, hosts: new Map(counts) };
}
const BOOKSTORE = "ansible/examples/bookstore/bookstore.yml";

function expectGood({ ran, hosts: counts }: Recap): void {
  if (ran.code !== 0) console.error(ran.stdout.slice(-6_000), ran.stderr.slice(-2_000));
  expect(ran.code).toBe(0);
  expect([...counts.keys()].sort()).toEqual(["store-1", "store-2", "store-3"]);
}

test.skipIf(!isHere)(
  "check mode on bare hosts says what it would do, and does nothing",
  async () => {
    const recap = await play("ansible/site.yml", "--check", "--diff");
    expectGood(recap);
    for (const name of NAMES)
      expect((await machine(name).exec("test", "-e", "/usr/local/bin/meshctl")).code).toBe(1);
  },
);

test.skipIf(!isHere)("one playbook takes three bare machines to a meshed bookstore", async () => {
  expectGood(await play(BOOKSTORE));
  const page = await eventually(
    "the page with details, reviews and stars",
    async () => {
      const { stdout } = await machine("c").exec(
        "curl",
        "-s",
        "-m",
        "5",
        "http://productpage:9080/productpage",
      );
      return stdout.includes("reviews") ? stdout : undefined;
    },
    20_000,
  );
  expect(page.length).toBeGreaterThan(100);
  const direct = await machine("c").sh(
    "curl -s -o /dev/null -w '%{http_code}' http://reviews:9080/reviews/0",
  );
  expect(direct).toBe("403"); // only productpage may
});

test.skipIf(!isHere)("the second run changes nothing", async () => {
  const recap = await play(BOOKSTORE);
  expectGood(recap);
  expect([...recap.hosts.values()].map(({ changed }) => changed)).toEqual([0, 0, 0]);
});

const versionsServed = (): Promise<string[]> =>
  Promise.all(
    NAMES.map((name) =>
      machine(name)
        .sh("sha256sum /usr/local/bin/meshctl | cut -c1-8; systemctl is-active ironmesh-agent")
        .catch(String),
    ),
  );

test.skipIf(!isHere)("an update goes host by host, and calls go on", async () => {
  const before = await versionsServed();
  // The same program with another hash: nobody reads the last byte of an ELF header's padding.
  const newer = `${hosts.directory}/meshctl-newer`;
  const bytes = readFileSync("dist/meshctl");
  bytes[15] = 1;
  writeFileSync(newer, bytes);
  chmodSync(newer, 0o755);
  await machine("c").sh(
    "rm -f /tmp/stop; systemd-run -q --unit=calls bash -c 'while [ ! -e /tmp/stop ]; do curl -s -m 15 -o /dev/null -w \"%{http_code}\\n\" http://productpage:9080/productpage >> /tmp/calls; done'",
  );
  expectGood(await play("ansible/site.yml", "-e", `mesh_binary=${newer}`));
  const answers = (
    await machine("c").sh(
      "touch /tmp/stop; while systemctl -q is-active calls; do sleep 0.1; done; cat /tmp/calls",
    )
  ).split("\n");
  const failed = answers.filter((answer) => answer !== "200");
  console.log(`rolling update: ${answers.length} calls meanwhile, ${failed.length} failed`);
  expect(answers.length).toBeGreaterThan(20);
  expect(failed).toEqual([]);
  const after = await versionsServed();
  expect(after.filter((one, i) => one === before[i])).toEqual([]);
});

test.skipIf(!isHere)(
  "an update that makes its first host sick stops there; the others keep what they have",
  async () => {
    const before = await versionsServed();
    const sick = `${hosts.directory}/meshctl-sick`;
    writeFileSync(sick, '#!/bin/sh\n[ "$1" = version ] || exit 3\n', { mode: 0o755 });
    const words = [
      "--limit",
      "mesh_agent",
      "-e",
      `mesh_agent_binary=${sick}`,
      "-e",
      "mesh_agent_ready_seconds=5",
    ];
    const { ran, hosts: counts } = await play("ansible/site.yml", ...words);
    expect(ran.code).not.toBe(0);
    expect(counts.get("store-1")?.failed).toBe(1);
    const after = await versionsServed();
    expect(after.slice(1)).toEqual(before.slice(1));
    expectGood(await play("ansible/site.yml"));
  },
);

test.skipIf(!isHere)("a file of options that the agent would refuse never lands", async () => {
  const words = [
    "--limit",
    "store-2,store-1",
    "-e",
    '{"mesh_agent_options": ["access-log sometimes"]}',
  ];
  const { ran } = await play("ansible/site.yml", ...words);
  expect(ran.code).not.toBe(0);
  expect(ran.stdout).toContain("--access-log must be");
  expect(
    await machine("a").sh(
      "systemctl is-active ironmesh-agent; grep -c sometimes /etc/ironmesh/agent.conf || true",
    ),
  ).toBe("active\n0");
});

test.skipIf(!isHere)("the removal leaves nothing of ours", async () => {
  expectGood(await play("ansible/remove.yml", "-e", "mesh_server_purge=true"));
  for (const name of NAMES)
    expect(
      await machine(name).sh(
        "find / -xdev -iname '*ironmesh*' -not -path '/var/log/*' -not -path '/proc/*' -not -path '/tmp/*'; ls /usr/local/bin; nft list ruleset; getent passwd ironmesh ironmesh-server || true",
      ),
    ).toBe("");
  const again = await play("ansible/remove.yml", "-e", "mesh_server_purge=true");
  expectGood(again);
  expect([...again.hosts.values()].map(({ changed }) => changed)).toEqual([0, 0, 0]);
});

test.skipIf(!isHere)("ansible-lint's production profile has nothing to say", async () => {
  const { code, stdout, stderr } = await run(
    ["sh", "-c", "cd ansible && ansible-lint --offline --profile production"],
    { timeoutMs: 120_000, env: { LC_ALL: "C.UTF-8" } },
  );
  if (code !== 0) console.error(stdout, stderr);
  expect(code).toBe(0);
});
