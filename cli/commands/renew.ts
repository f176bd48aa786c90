import { ADMIN_SOCKET, type AgentCertificate } from "../../agent/api/admin.ts";
import { AdminClient } from "../admin-client.ts";
import { CommandFailure } from "../failure.ts";
import { type AddCommand, examples } from "../surroundings.ts";

const WITHIN_MS = 15_000;
const LOOKS_EVERY_MS = 50;

/** New keys and certificates for this host and its workloads, before they are due. */
export const addRenew: AddCommand = (program, { terminal }) => {
  const command = program
    .command("renew")
    .summary("new keys and certificates for this host, now")
    .description(
      "Makes this host's agent renew its certificates, and those of the workloads here, with new keys: when a key may have leaked, or right after the server was restored. They are renewed by themselves from half of their life on; open connections live on.",
    )
    .option("--admin <path>", `the agent's admin socket (default: ${ADMIN_SOCKET})`)
    .action(async ({ admin }: { admin?: string }) => {
      const agent = new AdminClient(admin);
      const before = new Map((await agent.certificates()).map(keyed));
      await agent.renew();
      const deadline = terminal.nowMs() + WITHIN_MS;
      for (;;) {
        const now = await agent.certificates();
        const old = now.filter((one) => before.get(one.identity) === one.issuedAtMs);
        if (old.length === 0) {
          terminal.out(`${now.length} certificates renewed`);
          return;
        }
        if (terminal.nowMs() > deadline)
          throw new CommandFailure(
            `${old.length} of ${now.length} certificates are not renewed yet: ${old.map(({ identity }) => identity).join(", ")}`,
            "the agent goes on trying and its log says why it cannot; `meshctl status --agent` says whether it reaches its server",
          );
        await new Promise((resolve) => setTimeout(resolve, LOOKS_EVERY_MS));
      }
    });
  examples(command, "meshctl renew", "meshctl renew --admin /srv/ironmesh/admin.sock");
};

const keyed = (one: AgentCertificate): readonly [string, number] => [one.identity, one.issuedAtMs];
