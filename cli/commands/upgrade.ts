import { ADMIN_SOCKET } from "../../agent/api/admin.ts";
import { AdminClient } from "../admin-client.ts";
import { type AddCommand, examples } from "../surroundings.ts";

export const addUpgrade: AddCommand = (program, { terminal }) => {
  const command = program
    .command("upgrade")
    .summary("start this host's agent anew, without losing a connection")
    .description(
      "Makes this host's agent start the executable that now lies where its own was started from, with the options it was started with, and hand every listening socket to it. The old process answers what it holds and ends with its last connection, at the latest after --upgrade-drain-seconds. If the new one does not serve, the old one goes on.",
    )
    .option("--admin <path>", `the agent's admin socket (default: ${ADMIN_SOCKET})`)
    .action(async ({ admin }: { admin?: string }) => {
      const agent = new AdminClient(admin);
      const before = await agent.status();
      await agent.upgrade();
      const after = await agent.status();
      terminal.out(
        `${after.host}: agent ${before.agentVersion} (pid ${before.pid}) -> ${after.agentVersion} (pid ${after.pid}); ${before.openConnections} open connections end with the old process`,
      );
    });
  examples(command, "meshctl upgrade", "meshctl upgrade --admin /srv/ironmesh/admin.sock");
};
