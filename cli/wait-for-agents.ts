// `apply --wait`: until every connected agent runs what was applied, or one says why it does not.
import type { HostStatus } from "../agent/api/operator-api.ts";
import { CommandFailure } from "./failure.ts";
import type { ServerClient } from "./server-client.ts";
import type { Terminal } from "./terminal.ts";

const POLL_MS = 50;

export interface Arrival {
  readonly agents: number;
  readonly tookMs: number;
  /** Hosts without a session: they get it when they are back. */
  readonly away: readonly string[];
}

export async function waitForAgents(
  client: Pick<ServerClient, "status">,
  version: number,
  timeoutMs: number,
  terminal: Pick<Terminal, "nowMs" | "sleep">,
): Promise<Arrival> {
  const startedMs = terminal.nowMs();
  for (;;) {
    const { hosts } = await client.status();
    const tookMs = terminal.nowMs() - startedMs;
    const connected = hosts.filter((host) => host.isConnected);
    const refusing = connected.filter((host) => (host.nack?.version ?? -1) >= version);
    if (refusing.length > 0) throw refused(refusing, version);
    const late = connected.filter((host) => (host.ackedVersion ?? -1) < version);
    if (late.length === 0) {
      const away = hosts.filter((host) => !host.isConnected).map((host) => host.name);
      return { agents: connected.length, tookMs, away };
    }
    if (tookMs >= timeoutMs)
      throw new CommandFailure(
        `after ${tookMs} ms not on version ${version}: ${late.map((h) => h.name).join(", ")}`,
        "it is stored and will be sent on; `meshctl status` shows who runs what",
      );
    await terminal.sleep(POLL_MS);
  }
}

function refused(hosts: readonly HostStatus[], version: number): CommandFailure {
  const reasons = hosts.map((host) => `  ${host.name}: ${host.nack?.reasons.join("; ")}`);
  return new CommandFailure(
    [`refused version ${version} and still run the one before:`, ...reasons].join("\n"),
    "correct the resources and apply again, or upgrade those agents",
  );
}
