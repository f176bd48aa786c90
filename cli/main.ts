// The one entry of the executable. Wires the CLI to the agent, the server and the redirect, each loaded only when it runs:
// `meshctl agent` must not pay for what an operator's command needs, nor the other way round.
import type { AgentOptions } from "./agent-options.ts";
import type { Programs, RedirectVerb } from "./programs.ts";
import { processTerminal } from "./terminal.ts";

const PROGRAMS: Programs = {
  agent: async (options) => (await import("../agent/main.ts")).runAgent(options),
  server: async (options) => (await import("../registry/main.ts")).runServer(options),
  join: async (token, stateDir) => {
    const { joinHost } = await import("../agent/control/join.ts");
    return joinHost(token, stateDir, { wallMs: () => Date.now(), log: await stderrLog() });
  },
  redirect,
  tryRedirect: tryIt,
  refuseHost: async ({ dns, redirect: how }) => {
    if (!dns || how === "none") return undefined;
    const { readResolvers } = await import("../agent/os/host-facts.ts");
    const { refuseResolvers } = await import("../agent/os/redirect/input.ts");
    return refuseResolvers(readResolvers());
  },
};

async function tryIt({ redirect: backend, mode, dns }: AgentOptions) {
  const [{ tryRedirect }, { openEmptyNetwork }, { kernelHasIpv6 }] = await Promise.all([
    import("../agent/control/redirect-trial.ts"),
    import("../agent/os/redirect/empty-network.ts"),
    import("../agent/os/host-facts.ts"),
  ]);
  const chosen = backend === "none" ? "auto" : backend;
  return tryRedirect({ backend: chosen, mode, dns, hasIpv6: kernelHasIpv6() }, openEmptyNetwork);
}

async function stderrLog() {
  const { LineLog } = await import("../agent/base/log.ts");
  const write = (line: string): void => void process.stderr.write(line);
  return new LineLog("warn", { write, wallMs: () => Date.now() });
}

async function redirect(verb: RedirectVerb, options: AgentOptions, isBoot = false) {
  const [agent, tool, { DiskSnapshotStore }, facts, { hostRunner }, { MESH_PORT }, slices] =
    await Promise.all([
      import("../agent/control/agent-options.ts"),
      import("../agent/control/redirect-tool.ts"),
      import("../agent/control/snapshot-store.ts"),
      import("../agent/os/host-facts.ts"),
      import("../agent/os/redirect/runner.ts"),
      import("../agent/api/mesh-wire.ts"),
      import("../agent/os/redirect/slice.ts"),
    ]);
  const { stateDir } = options;
  const store = new DiskSnapshotStore(
    { stateDir, agentVersion: agent.AGENT_VERSION },
    { log: await stderrLog() },
  );
  return tool.runRedirect(
    verb,
    {
      backend: options.redirect === "none" ? "auto" : options.redirect,
      mode: options.mode,
      agentUid: tool.ownerOfDirectory(stateDir) ?? process.getuid?.() ?? 0,
      hostListenerPort: agent.HOST_LISTENER_PORT,
      inboundPort: agent.INBOUND_PORT,
      meshPort: MESH_PORT,
      dnsPort: agent.DNS_PORT,
      resolvers: options.dns ? facts.readResolvers() : [],
      hasIpv6: isBoot ? facts.kernelHasIpv6() : facts.hasIpv6(facts.hostAddresses()),
      exclusions: {
        uids: options.excludeUids,
        cidrs: options.excludeCidrs,
        ports: options.excludePorts,
      },
      sshPorts: [22],
    },
    {
      runner: hostRunner(),
      owners: { uidOf: facts.uidOf, sliceOf: (name) => slices.readSlice(name) },
      loadSnapshot: async () => (await store.loadCompiled())?.snapshot,
    },
  );
}

const words = process.argv.slice(2);
const [first, ...rest] = words;
const isAnswered = ["--help", "-h", "--check-config"].some((word) => rest.includes(word));
if (first === "agent" && !isAnswered) await startAgent(rest);
else {
  const { runCli } = await import("./run.ts");
  await end(await runCli(words, processTerminal(), PROGRAMS));
}

/** Past commander and all packages of the CLI: from exec to the first request counts in milliseconds. */
async function startAgent(options: readonly string[]): Promise<void> {
  try {
    const { prepareThread } = await import("../agent/os/thread.ts");
    prepareThread();
    const { parseAgentOptions } = await import("./agent-options.ts");
    await PROGRAMS.agent(parseAgentOptions(options));
    await end(0);
  } catch (error) {
    const { tellFailure } = await import("./run.ts");
    await end(await tellFailure(error, processTerminal()));
  }
}

/** Whatever threads or sockets a failure left behind; but not before what was printed has reached its pipe. */
async function end(exitCode: number): Promise<never> {
  for (const stream of [process.stdout, process.stderr])
    await new Promise<void>((resolve) => {
      stream.on("error", () => resolve()); // nobody reads any more
      stream.end(() => resolve()); // the callback of a write comes before what waits in a full pipe has left
    });
  return process.exit(exitCode);
}
