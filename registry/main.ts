// `meshctl server`: options in, a running config server out, until SIGTERM or SIGINT.
import { hostname, networkInterfaces } from "node:os";
import { SERVER_GOSSIP_PORT } from "../agent/api/gossip.ts";
import { SERVER_PORT } from "../agent/api/session.ts";
import { LineLog, type LogLevel } from "../agent/base/log.ts";
import { ServiceLife } from "../agent/control/service-life.ts";
import { systemClock, systemTimers } from "../agent/os/clock.ts";
import { Notifier, openServiceManager } from "../agent/os/notify.ts";
import { startRegistry } from "./registry.ts";

export interface ServerOptions {
  readonly stateDir: string;
  /** ADDRESS:PORT or [ADDRESS6]:PORT; default every address, port 15010. */
  readonly listen?: string;
  /** Default: this host's addresses, or its name if it has none. */
  readonly advertise?: readonly string[];
  readonly trustDomain?: string;
  readonly outboundPolicy?: "allow_any" | "registry_only";
  readonly isNewEpoch?: boolean;
  readonly certificateLifetimeMs?: number;
  /** Where the mesh's state and services lie; default: embedded. */
  readonly registry?: "embedded" | "consul";
  readonly consulAddress?: string;
  /** Holds Consul's token, 0600: command lines and environments are read by others. */
  readonly consulTokenFile?: string;
  /** PEM roots for an https Consul; default: the system's. */
  readonly consulCaFile?: string;
  readonly logLevel?: LogLevel;
}

export const TRUST_DOMAIN_DEFAULT = "mesh.local";
/** For sessions to close and the store to be written. */
const STOP_MAX_MS = 10_000;

/** Resolves with the exit code once the server stopped. What a person needs goes to stdout, the log to stderr. */
export async function runServer(options: ServerOptions): Promise<number> {
  const clock = systemClock();
  const log = new LineLog(options.logLevel ?? "info", {
    write: (line) => process.stderr.write(line),
    wallMs: () => clock.wallMs(),
  });
  const stopped = new Promise<void>((resolve) => {
    process.once("SIGTERM", () => resolve());
    process.once("SIGINT", () => resolve());
  });
  const registry = await startRegistry(
    {
      stateDir: options.stateDir,
      listen: parseListen(options.listen ?? `[::]:${SERVER_PORT}`),
      advertise: options.advertise?.length ? options.advertise : ownNames(),
      trustDomain: options.trustDomain ?? TRUST_DOMAIN_DEFAULT,
      ...(options.outboundPolicy === undefined ? {} : { outboundPolicy: options.outboundPolicy }),
      isNewEpoch: options.isNewEpoch ?? false,
      ...(options.certificateLifetimeMs === undefined
        ? {}
        : { certificateLifetimeMs: options.certificateLifetimeMs }),
      ...(options.registry === "consul" ? { consul: consulOf(options) } : {}),
      gossipPort: SERVER_GOSSIP_PORT,
    },
    { clock, timers: systemTimers(), log },
  );
  process.stdout.write(
    [
      `config server   ${registry.url}`,
      `CA SHA-256      ${registry.caSha256}`,
      `operator token  ${registry.operatorTokenFile}`,
      "",
      "Next, on this machine or yours:",
      `  meshctl login ${registry.url} --ca-sha256 ${registry.caSha256} --token-file ${registry.operatorTokenFile}`,
      "  meshctl token create --host HOST --service-account NAMESPACE/ACCOUNT",
      "",
    ].join("\n"),
  );
  log.info("server started", { url: registry.url, port: registry.port });
  const life = serviceLife();
  life.status(registry.url);
  life.ready();
  await stopped;
  log.info("server stopping");
  life.stopping(STOP_MAX_MS);
  await registry.close();
  life.end();
  return 0;
}

export const CONSUL_ADDRESS_DEFAULT = "http://127.0.0.1:8500";

const consulOf = (options: ServerOptions) => ({
  url: options.consulAddress ?? CONSUL_ADDRESS_DEFAULT,
  tokenFile: options.consulTokenFile,
  caFile: options.consulCaFile,
});

/** A server has one thread, which lives if it gets to say so. */
function serviceLife(): ServiceLife {
  const { notifySocket, watchdogMs } = openServiceManager(process.env, process.pid);
  const notifier = notifySocket === undefined ? undefined : new Notifier(notifySocket);
  return new ServiceLife(
    { watchdogMs: notifier && watchdogMs },
    {
      tell: (assignments) => void notifier?.tell(assignments),
      timers: systemTimers(),
      threads: { ask() {}, areAnswering: true },
    },
  );
}

export function parseListen(text: string): { address: string; port: number } {
  const [, host6, host, port] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text) ?? [];
  const address = host6 ?? host;
  if (address === undefined || Number(port) > 65_535) {
    throw new Error(`--listen ${text}: write ADDRESS:PORT, such as 0.0.0.0:${SERVER_PORT}`);
  }
  return { address, port: Number(port) };
}

/** Addresses other hosts can reach; link-local ones need a zone that only this host knows. */
function ownNames(): string[] {
  const addresses = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter((info) => !info.internal && !info.address.startsWith("fe80:"))
    .map((info) => info.address)
    .slice(0, 8);
  return addresses.length > 0 ? addresses : [hostname()];
}
