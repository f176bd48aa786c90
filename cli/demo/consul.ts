// A real Consul in the demo: one server on the config server's host, reached over loopback as a Consul agent on each host is.
import { writeFileSync } from "node:fs";
import { Daemon } from "./daemon.ts";
import { CONSUL_IN_HOST, type Lab, privateDirectory } from "./lab.ts";
import { hostNamed, namespaceOf, RUN_DIRECTORY, SERVER_HOST, UID } from "./layout.ts";
import { pathOf } from "./requirements.ts";
import { logPath } from "./run-directory.ts";
import { until } from "./until.ts";

export const CONSUL_ADDRESS = "http://127.0.0.1:8500";
/** What the config server is started with. */
export const ON_CONSUL = ["--registry", "consul", "--consul-address", CONSUL_ADDRESS];
const READY_WITHIN_MS = 20_000;

const HOW_TO_GET_ONE =
  "run `bash .ci/consul` in Ironmesh's sources, which fetches Debian's, or install one, and name its file in IRONMESH_CONSUL or put it on the PATH";
export const NO_CONSUL = `A mesh on Consul needs a Consul, and there is none here: ${HOW_TO_GET_ONE}.`;

/** The file of a Consul on this machine. */
export const findConsul = (): string | undefined =>
  process.env["IRONMESH_CONSUL"] || pathOf("consul");

/** Its data outlive it: started again it has what it had. */
export const consulDaemon = (lab: Lab): Daemon =>
  new Daemon(async () => {
    const place = `${RUN_DIRECTORY}/${SERVER_HOST}/consul`;
    await privateDirectory(place, UID.consul);
    const config = `${RUN_DIRECTORY}/${SERVER_HOST}/consul.json`;
    writeFileSync(config, JSON.stringify(configOf(`${place}/data`)), { mode: 0o644 });
    return lab.spawn(where(), [CONSUL_IN_HOST, "agent", `-config-file=${config}`], {
      uid: UID.consul,
      env: { HOME: "/nonexistent" },
      log: logPath("consul"),
    });
  });

/** It serves once it has a leader, which is itself. */
export const untilConsulServes = (lab: Lab): Promise<void> =>
  until("Consul", READY_WITHIN_MS, async () => {
    const ask = [CONSUL_IN_HOST, "kv", "get", "-keys", `-http-addr=${CONSUL_ADDRESS}`, ""];
    const { code, stderr } = await lab.run(where(), ask, { uid: UID.consul });
    return code === 0 && stderr === "";
  });

/** Consul's own command, on its host; its output. */
export async function runConsul(lab: Lab, ...words: readonly string[]): Promise<string> {
  const command = [CONSUL_IN_HOST, ...words.slice(0, 2), `-http-addr=${CONSUL_ADDRESS}`];
  const done = await lab.run(where(), [...command, ...words.slice(2)], { uid: UID.consul });
  if (done.code === 0) return done.stdout;
  throw new Error(`consul ${words.join(" ")} ended with ${done.code}: ${done.stderr}`);
}

const where = (): string => namespaceOf(hostNamed(SERVER_HOST));

const configOf = (dataDirectory: string) => ({
  server: true,
  bootstrap_expect: 1,
  node_name: SERVER_HOST,
  data_dir: dataDirectory,
  bind_addr: "127.0.0.1",
  client_addr: "127.0.0.1",
  ports: { http: 8500, grpc: -1, dns: -1, serf_wan: -1 },
  // Fast elections, and a service manager's stop is no farewell.
  performance: { raft_multiplier: 1 },
  leave_on_terminate: false,
  disable_update_check: true,
  ui: false,
});
