// UDP between machines that boot, by their services: DNS asked by dig and syslog written by logger, sealed on the way and refused to whom
// policy does not name; and an agent that its manager starts again, whose listeners of datagrams the manager keeps. Machine c runs the
// config server and is the switch, b the called services, a the callers.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { ADDRESS, eventually, Hosts } from "../support/hosts.ts";
import { canBoot, Machine } from "./machine.ts";
import { installServer, joinToken, RUNTIME, shareRuntime } from "./mesh.ts";

setDefaultTimeout(900_000); // the first hook may make the base image
const isHere = canBoot("UDP between machines", ["dig", "tcpdump"]);
const SYSLOG_PORT = 5_140;
const NAMES_PORT = 5_353;
const ANSWER = "192.0.2.77";

const RESOURCES = `
apiVersion: ironmesh.dev/v1
kind: Workload
metadata: { name: infra, namespace: default }
spec:
  hosts: [b]
  serviceAccount: infra
  process: { user: infra }
  services:
    - { name: logs, ports: [{ port: 514, targetPort: ${SYSLOG_PORT}, protocol: UDP }] }
    - { name: names, ports: [{ port: 53, targetPort: ${NAMES_PORT}, protocol: UDP }] }
${["shop", "stranger"]
  .map(
    (name) => `---
apiVersion: ironmesh.dev/v1
kind: Workload
metadata: { name: ${name}, namespace: default }
spec: { hosts: [a], serviceAccount: ${name}, process: { user: ${name} } }
`,
  )
  .join("")}---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: callers, namespace: default }
spec:
  action: ALLOW
  rules:
    - from: [{ source: { principals: ["mesh.local/ns/default/sa/shop"] } }]
`;

/** A syslog server that writes down and says again what it hears, and a DNS server that knows one address (RFC 1035 4.1). */
const APP = `
import { appendFileSync } from "node:fs";
await Bun.udpSocket({ hostname: "0.0.0.0", port: ${SYSLOG_PORT}, socket: { error() {}, data(socket, data, port, address) {
  appendFileSync("/srv/infra/heard", data.toString("latin1").trim() + "\\n");
  socket.send(data, port, address);
} } });
await Bun.udpSocket({ hostname: "0.0.0.0", port: ${NAMES_PORT}, socket: { error() {}, data(socket, data, port, address) {
  const end = data.indexOf(0, 12) + 5;
  const head = Buffer.from([data[0], data[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
  const record = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ${ANSWER.replaceAll(".", ",")}]);
  socket.send(Buffer.concat([head, data.subarray(12, end), record]), port, address);
} } });
`;
/** From one socket, a number each 50 ms until told to stop; each that comes back is written down. */
const CALLER = `
import { appendFileSync, existsSync, writeFileSync } from "node:fs";
const [address] = process.argv.slice(2);
const socket = await Bun.udpSocket({ socket: { error() {}, data(_socket, data) { appendFileSync("/srv/shop/back", data + "\\n"); } } });
let sent = 0;
const timer = setInterval(() => {
  if (existsSync("/srv/shop/stop")) { clearInterval(timer); writeFileSync("/srv/shop/sent", String(sent)); setTimeout(() => process.exit(0), 1000); return; }
  socket.send("number " + ++sent, 514, address);
}, 50);
`;

let hosts: Hosts;
let a: Machine;
let b: Machine;
let c: Machine;
let logs = "";
let names = "";

beforeAll(async () => {
  if (!isHere) return;
  hosts = await Hosts.up();
  [a, b, c] = (await Promise.all(
    (["a", "b", "c"] as const).map((name) => Machine.boot(name, hosts.namespaceOf(name))),
  )) as [Machine, Machine, Machine];
  await installServer(c);
  await c.sh(
    `cat > /root/resources.yaml <<'EOF'\n${RESOURCES}\nEOF\nmeshctl apply -f /root/resources.yaml`,
  );
  for (const machine of [a, b]) {
    shareRuntime(machine);
    const users = machine === a ? ["shop", "stranger"] : ["infra"];
    for (const user of users)
      await machine.sh(`useradd -r ${user}; install -d -o ${user} /srv/${user}`);
    const token = await joinToken(c, machine.name, users);
    shareRuntime(machine, "root/meshctl", "dist/meshctl");
    await machine.sh(`/root/meshctl join ${token} && rm /root/meshctl`);
  }
  b.write("srv/app.ts", APP);
  a.write("srv/caller.ts", CALLER);
  await b.sh(`systemd-run -q --uid=infra --unit=infra ${RUNTIME} /srv/app.ts`);
  [logs, names] = [await addressOf("logs"), await addressOf("names")] as [string, string];
  await eventually("a datagram of a comes to b", async () => {
    await asUser("shop", say("are you there"));
    return (await heard()).includes("are you there");
  });
});
afterAll(async () => {
  if (hosts === undefined) return;
  for (const machine of [a, b, c]) await machine?.remove();
  await hosts.down();
});

/** By the agent's own names. */
const addressOf = (service: string): Promise<string> =>
  eventually(`the address of ${service}`, async () => {
    const { stdout } = await a.exec("getent", "ahostsv4", `${service}.default.mesh`);
    return /^(\S+)/.exec(stdout)?.[1];
  });

const heard = (): Promise<string> => b.sh("cat /srv/infra/heard 2>/dev/null || true");
const asUser = (user: string, command: string): Promise<string> =>
  a.sh(`setpriv --reuid ${user} --regid ${user} --clear-groups ${command}`);
const say = (text: string, server = logs): string =>
  `logger --server ${server} --udp --port 514 --tag shop '${text}'`;

const wireLog = (): string => readFileSync(`${hosts.directory}/wire.log`, "utf8");

/** This host's dig, in the machine's network, as one of the machine's users: machines are Debian without it. */
async function dig(user: string): Promise<string> {
  const uid = Number(await a.sh(`id -u ${user}`));
  const command = ["dig", `@${names}`, "+short", "+tries=1", "+time=2", "www.example.org"];
  return (await hosts.run("a", command, { uid })).stdout.trim();
}

test.skipIf(!isHere)(
  "dig is answered and logger is heard, and nobody on the way reads either",
  async () => {
    const words = ["tcpdump", "-i", "any", "-n", "-A", "-U", "--immediate-mode", "udp"];
    const tap = hosts.spawn("c", words, { uid: 0, log: "wire" });
    await eventually("tcpdump listens", () => wireLog().includes("listening on"));
    expect(await dig("shop")).toBe(ANSWER);
    await asUser("shop", say("the secret line"));
    await eventually("the line is heard", async () => (await heard()).includes("the secret line"));
    const sealed = new RegExp(`${ADDRESS.a}\\.\\d+ > ${ADDRESS.b}\\.15008: UDP`);
    await eventually("the wire's datagrams", () => sealed.test(wireLog()));
    tap.kill();
    const wire = wireLog();
    expect(wire).not.toContain("the secret line");
    expect(wire).not.toContain("example");
    expect(wire).not.toContain(`${ADDRESS.b}.${SYSLOG_PORT}`);
  },
);

test.skipIf(!isHere)(
  "whom policy does not name is not heard: another workload, and a host without an agent",
  async () => {
    expect(await dig("stranger")).not.toContain(ANSWER);
    await asUser("stranger", say("a line of the stranger"));
    await c.sh(`logger --server ${ADDRESS.b} --udp --port ${SYSLOG_PORT} "a line of the outsider"`);
    await asUser("shop", say("the line after"));
    await eventually("the one after it", async () => (await heard()).includes("the line after"));
    expect(await heard()).not.toMatch(/stranger|outsider/);
    const metrics = await b.sh(
      "curl -s http://127.0.0.1:15020/metrics | grep ^ironmesh_udp_dropped_total",
    );
    expect(metrics).toMatch(/reason="denied"/);
  },
);

for (const [how, command] of [
  ["systemctl restart", "systemctl restart ironmesh-agent"],
  ["kill -9", "systemctl kill -s KILL ironmesh-agent"],
] as const)
  test.skipIf(!isHere)(
    `${how} of the caller's agent: a flow goes on, and all that its program sent is heard`,
    async () => {
      const { sent, numbers } = await flowDuring(() => startedAgain(a, command));
      const missing = Array.from({ length: sent }, (_, i) => i + 1).filter((n) => !numbers.has(n));
      console.log(`${how} on the calling machine: ${sent} datagrams, ${missing.length} lost`);
      expect(missing).toEqual([]);
    },
  );

test.skipIf(!isHere)(
  "systemctl restart of the called machine's agent: the flow goes on from the same socket",
  async () => {
    const { sent, numbers } = await flowDuring(() =>
      startedAgain(b, "systemctl restart ironmesh-agent"),
    );
    console.log(`restart on the called machine: ${sent} datagrams, ${sent - numbers.size} lost`);
    expect(numbers.has(sent)).toBe(true);
  },
);

/** What one socket on a sent, and which of it b heard; answers came to the very end. */
async function flowDuring(
  act: () => Promise<void>,
): Promise<{ readonly sent: number; readonly numbers: ReadonlySet<number> }> {
  await a.sh("rm -f /srv/shop/*");
  await b.sh(": > /srv/infra/heard");
  const back = async (): Promise<number> =>
    Number(await a.sh("cat /srv/shop/back 2>/dev/null | wc -l"));
  await a.sh(`systemd-run -q --uid=shop --unit=flow ${RUNTIME} /srv/caller.ts ${logs}`);
  await eventually("answers", async () => (await back()) > 20);
  await act();
  const before = await back();
  await eventually("answers again", async () => (await back()) > before + 20, 30_000);
  await a.sh("touch /srv/shop/stop; while systemctl -q is-active flow; do sleep 0.1; done");
  const sent = Number(await a.sh("cat /srv/shop/sent"));
  const found = (await heard()).matchAll(/^number (\d+)$/gm);
  return { sent, numbers: new Set([...found].map(([, n]) => Number(n))) };
}

/** Another process, which serves. */
async function startedAgain(machine: Machine, command: string): Promise<void> {
  const pid = (): Promise<string> => machine.sh("systemctl show -P MainPID ironmesh-agent");
  const before = await pid();
  const kept = Number(await machine.sh("systemctl show -P NFileDescriptorStore ironmesh-agent"));
  expect(kept).toBeGreaterThan(0);
  await machine.sh(command);
  await eventually(
    "the agent serves again",
    async () => {
      const { code } = await machine.exec("curl", "-sf", "http://127.0.0.1:15020/healthz/ready");
      return code === 0 && !["0", before].includes(await pid());
    },
    30_000,
  );
}
