// The config server on a machine, as its unit; tokens from it; and the runtime that apps of the tests run on.
import { chmodSync, copyFileSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { eventually } from "../support/hosts.ts";
import type { Machine } from "./machine.ts";

export const RUNTIME = "/opt/runtime";

/** Gives a machine an executable of this host; default: the JavaScript runtime. */
export function shareRuntime(machine: Machine, inside = RUNTIME, from = process.execPath): void {
  mkdirSync(dirname(machine.path(inside)), { recursive: true });
  copyFileSync(from, machine.path(inside));
  chmodSync(machine.path(inside), 0o755);
}

/** By hand, as docs/operating.md says; resolves when an operator is logged in on the machine. */
export async function installServer(machine: Machine): Promise<void> {
  const source = (name: string): string => readFileSync(resolve("systemd", name), "utf8");
  shareRuntime(machine, "/usr/local/bin/meshctl", "dist/meshctl");
  const name = "ironmesh-server";
  machine.write(`etc/systemd/system/${name}.service`, source(`${name}.service`));
  machine.write(`etc/sysusers.d/${name}.conf`, source(`${name}.sysusers.conf`));
  machine.write(`etc/tmpfiles.d/${name}.conf`, source(`${name}.tmpfiles.conf`));
  machine.write("etc/ironmesh/server.conf", "# defaults\n");
  await machine.sh(
    `systemd-sysusers; systemd-tmpfiles --create; systemctl daemon-reload; systemctl enable -q --now ${name}`,
  );
  const state = "/var/lib/ironmesh/server";
  await eventually(
    "the first operator's token",
    async () => (await machine.exec("test", "-e", `${state}/operator-token`)).code === 0,
  );
  await machine.sh(
    `meshctl login https://127.0.0.1:15010 --ca-sha256 $(cat ${state}/ca-sha256) --token-file ${state}/operator-token`,
  );
}

export const operator = (server: Machine, script: string): Promise<string> => server.sh(script);

export async function joinToken(
  server: Machine,
  host: string,
  accounts: readonly string[],
): Promise<string> {
  const granted = accounts.map((account) => `--service-account default/${account}`).join(" ");
  const shown = await server.sh(`meshctl token create --host ${host} ${granted}`);
  const token = /im1\.[A-Za-z0-9_-]+/.exec(shown)?.[0];
  if (token === undefined) throw new Error(`no token in ${shown}`);
  return token;
}
