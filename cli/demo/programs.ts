// The bookstore's programs and the demo's own helpers, each started inside its host under its own user.
import type { ChildProcess } from "node:child_process";
import { SCRIPT_ENVIRONMENT } from "./executable.ts";
import { EXECUTABLE_IN_HOST, type Lab } from "./lab.ts";
import {
  type DemoHost,
  ECHO_PORT,
  gatewayOf,
  HOSTS,
  HTTP_PORT,
  hostOf,
  namespaceOf,
  type ProgramName,
  ROUTER,
  UID,
} from "./layout.ts";
import type { LoadConfig } from "./parts/load.ts";
import type { PartName } from "./parts/parts.ts";
import type { ResolverConfig } from "./parts/resolver.ts";
import { APPS, logPath } from "./run-directory.ts";

interface Program {
  readonly name: Exclude<ProgramName, "visitor">;
  readonly script: string;
  readonly port: number;
  readonly version?: string;
}

export const PROGRAMS: readonly Program[] = [
  { name: "productpage", script: "productpage.ts", port: HTTP_PORT },
  { name: "details", script: "details.ts", port: HTTP_PORT },
  { name: "ratings", script: "ratings.ts", port: 9081 },
  { name: "reviews-v1", script: "reviews.ts", port: HTTP_PORT, version: "v1" },
  { name: "reviews-v2", script: "reviews.ts", port: HTTP_PORT, version: "v2" },
  { name: "reviews-v3", script: "reviews.ts", port: HTTP_PORT, version: "v3" },
  { name: "echo", script: "echo.ts", port: ECHO_PORT },
];

export function startPrograms(lab: Lab, host: DemoHost): void {
  for (const program of PROGRAMS)
    if (host.programs.includes(program.name)) startProgram(lab, program, {}, host);
}

/** TCP ports on which the host's programs listen. */
export const portsOf = (host: DemoHost): readonly number[] =>
  PROGRAMS.filter(({ name }) => host.programs.includes(name)).map(({ port }) => port);

/** `env` is for tests without a mesh, which have to say where everybody is. */
export function startProgram(
  lab: Lab,
  program: Program,
  env: { readonly [name: string]: string } = {},
  host = hostOf(program.name),
): ChildProcess {
  return lab.spawn(namespaceOf(host), [EXECUTABLE_IN_HOST, `${APPS}/${program.script}`], {
    uid: UID[program.name],
    log: logPath(program.name),
    env: {
      ...SCRIPT_ENVIRONMENT,
      HOME: "/nonexistent",
      PORT: String(program.port),
      ...(program.version === undefined ? {} : { VERSION: program.version }),
      ...env,
    },
  });
}

export const partCommand = (lab: Lab, part: PartName, input: unknown): readonly string[] =>
  lab.ourselves("demo", "part", part, JSON.stringify(input));

export function startResolver(lab: Lab): ChildProcess {
  const config: ResolverConfig = { addresses: HOSTS.map(gatewayOf) };
  return lab.spawn(ROUTER, partCommand(lab, "resolver", config), {
    uid: UID.bystander,
    capabilities: ["net_bind_service"],
    log: logPath("resolver"),
  });
}

/** The visitor's load; its counts come as JSON lines on stdout. */
export function startLoad(lab: Lab, rate: number): ChildProcess {
  const config: LoadConfig = {
    page: { host: "productpage", port: HTTP_PORT },
    echo: { host: "echo", port: ECHO_PORT },
    rate,
    timeoutMs: 5_000,
  };
  return lab.spawn(namespaceOf(hostOf("visitor")), partCommand(lab, "load", config), {
    uid: UID.visitor,
    stdio: "pipe",
    log: logPath("visitor"),
  });
}
