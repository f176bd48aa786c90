// The words after `meshctl agent` (and `meshctl redirect`, which must see the host as the agent does). Parsed by the runtime's own
// parseArgs: an agent does not pay for the CLI's packages.

import { parseArgs } from "node:util";
import { ADMIN_SOCKET, METRICS_PORT } from "../agent/api/admin.ts";
import { ipFamily } from "../agent/base/ip-text.ts";
import { wordsOfConfigFile } from "./config-file.ts";
import { usage } from "./failure.ts";

export const STATE_DIR = "/var/lib/ironmesh/agent";

export interface AgentOptions {
  readonly stateDir: string;
  readonly adminSocket: string;
  readonly adminGroup: string | undefined;
  readonly metricsAddress: string;
  readonly metricsPort: number;
  readonly workers: number;
  readonly redirect: "auto" | "iptables" | "nft" | "none";
  readonly mode: "declared" | "all";
  readonly dns: boolean;
  readonly io: "auto" | "epoll";
  readonly tlsResumption: "auto" | "never";
  readonly accessLog: "off" | "on" | "errors";
  readonly logLevel: "error" | "warn" | "info" | "debug";
  readonly connectionsMax: number;
  readonly http: {
    readonly headersMax: number;
    readonly headerTimeoutMs: number;
    readonly bodyTimeoutMs: number;
  };
  readonly drainTimeoutMs: number;
  readonly upgradeDrainMs: number;
  /** `agent` and its options, as given. */
  readonly words: readonly string[];
  readonly excludeUids: readonly number[];
  readonly excludeCidrs: readonly string[];
  readonly excludePorts: readonly number[];
  readonly takesFaults: boolean;
}

interface About {
  /** Not in --help. */
  readonly isHidden?: true;
  readonly value: string;
  readonly prose: string;
}
const ABOUT: Readonly<Record<string, About>> = {
  config: {
    value: "<file>",
    prose: "read options from it first, one a line without the dashes; the command line wins",
  },
  "state-dir": { value: "<dir>", prose: `what the host knows and its keys (default ${STATE_DIR})` },
  "admin-socket": {
    value: "<path>",
    prose: `unix socket for this host's people (default ${ADMIN_SOCKET})`,
  },
  "admin-group": { value: "<group>", prose: "group that may use it (default: the agent's own)" },
  metrics: {
    value: "<address:port>",
    prose: `Prometheus metrics and health (default 127.0.0.1:${METRICS_PORT})`,
  },
  workers: { value: "<n>", prose: "threads for traffic (default: one a core)" },
  redirect: { value: "<how>", prose: "auto, iptables, nft or none (default auto)" },
  mode: {
    value: "<mode>",
    prose:
      "declared: only what the mesh declares; all: everything but exclusions (default declared)",
  },
  "no-dns": { value: "", prose: "leave DNS alone: mesh names do not resolve" },
  io: {
    value: "<how>",
    prose:
      "auto: small socket calls through io_uring where the kernel allows it; epoll: never (default auto)",
  },
  "tls-resumption": {
    value: "<how>",
    prose:
      "auto: mesh connections that it dials resume TLS sessions; never: each proves both ends by certificate anew (default auto)",
  },
  "access-log": {
    value: "<which>",
    prose: "off, on or errors: JSON lines on standard output (default off)",
  },
  "log-level": { value: "<level>", prose: "error, warn, info or debug (default info)" },
  "connections-max": {
    value: "<n>",
    prose: "open connections from apps and peers, all threads together (default 65536)",
  },
  "http-headers-max": {
    value: "<n>",
    prose: "header fields of one HTTP request or response; more are refused (default 100)",
  },
  "http-header-seconds": {
    value: "<n>",
    prose: "how long a client may take for a request's head (default 10)",
  },
  "http-body-seconds": {
    value: "<n>",
    prose: "how long a client may be silent in a body that is waited for; 0: for ever (default 60)",
  },
  "drain-seconds": {
    value: "<n>",
    prose: "when told to stop: how long open requests may take to end (default 10)",
  },
  "upgrade-drain-seconds": {
    value: "<n>",
    prose:
      "after `meshctl upgrade`: how long connections may live on in the old process (default 900)",
  },
  "exclude-uid": {
    value: "<uid>",
    prose: "mode all: leave this user's traffic alone; may be repeated",
  },
  "exclude-cidr": {
    value: "<block>",
    prose: "mode all: leave traffic to it alone; may be repeated",
  },
  "exclude-port": {
    value: "<port>",
    prose: "mode all: leave traffic to it alone; may be repeated",
  },
  "test-faults": {
    isHidden: true,
    value: "",
    prose: "for tests: the admin socket may make a data thread throw or stall",
  },
};

/** One line an option, for --help. */
export const agentOptionLines = (): string[] =>
  Object.entries(ABOUT).flatMap(([name, { value, prose, isHidden }]) =>
    isHidden ? [] : [`  ${`--${name} ${value}`.padEnd(28)} ${prose}`],
  );

export const agentHelp = (): string =>
  [
    "Usage: meshctl agent [options]",
    "",
    "Runs this host's agent until it is told to stop. The host must have joined (`meshctl join`).",
    "",
    "Options:",
    ...agentOptionLines(),
    `  ${"--check-config <file>".padEnd(28)} say whether the agent would take this file of options, and start nothing`,
    "",
    "Examples:",
    "  meshctl agent",
    "  meshctl agent --config /etc/ironmesh/agent.conf",
    "  meshctl agent --access-log errors --metrics 10.0.0.5:15020",
  ].join("\n");

export function parseAgentOptions(words: readonly string[]): AgentOptions {
  const options = { ...parseGiven(withConfig(words)), words: ["agent", ...words] };
  checkExclusions(options);
  return options;
}

/** Throws what the agent would throw; says nothing of the host. */
export const checkAgentConfig = (path: string): void => void parseAgentOptions(["--config", path]);

function withConfig(words: readonly string[]): Given {
  const given = wordsOf(words);
  const files = given.values["config"] ?? [];
  if (files.length > 1) throw usage("--config names one file");
  const [file] = files;
  return file === undefined ? given : wordsOf([...wordsOfConfigFile(file), ...words]);
}

/** The redirect would refuse them too, but later, where nobody looks. */
function checkExclusions({
  mode,
  excludeUids,
  excludeCidrs,
  excludePorts,
}: Omit<AgentOptions, "words">): void {
  if (mode === "declared" && excludeUids.length + excludeCidrs.length + excludePorts.length > 0)
    throw usage(
      "--exclude-* means something with --mode all only: `declared` touches nothing else",
    );
  for (const block of excludeCidrs) {
    const [address = "", bits = "", more] = block.split("/");
    const bitsMax = ipFamily(address) === 4 ? 32 : 128;
    const hasBits = /^[0-9]{1,3}$/.test(bits) && Number(bits) <= bitsMax;
    if (ipFamily(address) === 0 || more !== undefined || (block.includes("/") && !hasBits))
      throw usage(`--exclude-cidr ${JSON.stringify(block)} is no address block such as 10.0.0.0/8`);
  }
}

function parseGiven(given: Given): Omit<AgentOptions, "words"> {
  const one = (name: string): string | undefined => given.values[name]?.at(-1);
  const [metricsAddress, metricsPort] = parseAddressPort(one("metrics"));
  return {
    stateDir: one("state-dir") ?? STATE_DIR,
    adminSocket: one("admin-socket") ?? ADMIN_SOCKET,
    adminGroup: one("admin-group"),
    metricsAddress,
    metricsPort,
    workers: number("workers", one("workers") ?? "0", 0, 256),
    redirect: oneOf("redirect", one("redirect") ?? "auto", ["auto", "iptables", "nft", "none"]),
    mode: oneOf("mode", one("mode") ?? "declared", ["declared", "all"]),
    dns: !given.flags.has("no-dns"),
    io: oneOf("io", one("io") ?? "auto", ["auto", "epoll"]),
    tlsResumption: oneOf("tls-resumption", one("tls-resumption") ?? "auto", ["auto", "never"]),
    accessLog: oneOf("access-log", one("access-log") ?? "off", ["off", "on", "errors"]),
    logLevel: oneOf("log-level", one("log-level") ?? "info", ["error", "warn", "info", "debug"]),
    connectionsMax: number("connections-max", one("connections-max") ?? "65536", 1, 10_000_000),
    http: httpOptions(one),
    drainTimeoutMs: 1_000 * number("drain-seconds", one("drain-seconds") ?? "10", 0, 3_600),
    upgradeDrainMs:
      1_000 * number("upgrade-drain-seconds", one("upgrade-drain-seconds") ?? "900", 0, 86_400),
    excludeUids: (given.values["exclude-uid"] ?? []).map((v) =>
      number("exclude-uid", v, 0, 2 ** 32 - 2),
    ),
    excludeCidrs: given.values["exclude-cidr"] ?? [],
    excludePorts: (given.values["exclude-port"] ?? []).map((v) =>
      number("exclude-port", v, 1, 65_535),
    ),
    takesFaults: given.flags.has("test-faults"),
  };
}

function httpOptions(one: (name: string) => string | undefined): AgentOptions["http"] {
  const within = (name: string, usual: number, min: number, max: number): number =>
    number(name, one(name) ?? `${usual}`, min, max);
  return {
    headersMax: within("http-headers-max", 100, 10, 1_000),
    headerTimeoutMs: 1_000 * within("http-header-seconds", 10, 1, 3_600),
    bodyTimeoutMs: 1_000 * within("http-body-seconds", 60, 0, 86_400),
  };
}

interface Given {
  readonly values: Readonly<Record<string, readonly string[]>>;
  readonly flags: ReadonlySet<string>;
}

function wordsOf(words: readonly string[]): Given {
  const options = Object.fromEntries(
    Object.entries(ABOUT).map(([name, { value }]) => [
      name,
      value === "" ? ({ type: "boolean" } as const) : ({ type: "string", multiple: true } as const),
    ]),
  );
  let parsed: { values: Readonly<Record<string, unknown>> };
  try {
    parsed = parseArgs({ args: [...words], options, strict: true, allowPositionals: false });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw usage(reason, "`meshctl agent --help` lists the options");
  }
  const values: Record<string, readonly string[]> = {};
  const flags = new Set<string>();
  for (const [name, value] of Object.entries(parsed.values)) {
    if (Array.isArray(value)) values[name] = value.map(String);
    else if (value === true) flags.add(name);
  }
  return { values, flags };
}

function number(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!/^[0-9]+$/.test(text) || value < min || value > max)
    throw usage(
      `--${name} must be a whole number from ${min} to ${max}, not ${JSON.stringify(text)}`,
    );
  return value;
}

function oneOf<const T extends string>(name: string, text: string, known: readonly T[]): T {
  const found = known.find((word) => word === text);
  if (found === undefined)
    throw usage(`--${name} must be ${known.join(", ")}, not ${JSON.stringify(text)}`);
  return found;
}

function parseAddressPort(text = `127.0.0.1:${METRICS_PORT}`): [address: string, port: number] {
  const [, host6, host, port] = /^(?:\[([^\]]+)\]|([^:]+)):([0-9]{1,5})$/.exec(text) ?? [];
  const address = host6 ?? host;
  if (address === undefined || port === undefined)
    throw usage(`--metrics must be ADDRESS:PORT, not ${JSON.stringify(text)}`);
  return [address, number("metrics", port, 0, 65_535)];
}
