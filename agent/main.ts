// `meshctl agent`: runs until it is told to stop.
import { startAgent } from "./agent.ts";
import type { AgentOptions } from "./control/agent-options.ts";
import { openServiceManager } from "./os/notify.ts";

export async function runAgent(options: AgentOptions): Promise<void> {
  const agent = await startAgent(options, openServiceManager(process.env, process.pid));
  const told = new Promise<void>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.once(signal, () => resolve());
  });
  const ended = await Promise.race([told, agent.unable, agent.replaced.then(() => "replaced")]);
  if (ended !== "replaced") await agent.stop();
  process.exit(0);
}
