// Another user's program that takes ports while their owner is away, and counts what reaches it: connections, and bytes that were meant
// for somebody else.
import { createServer } from "node:net";
import { untilTold } from "./relay.ts";

export interface SquatConfig {
  readonly listen: readonly { readonly address: string; readonly port: number }[];
}
export interface SquatResult {
  readonly connections: number;
  readonly bytes: number;
}

/** Prints `ready` once it has every port, its result after SIGTERM. A port that is not free is an error. */
export async function serveSquat({ listen }: SquatConfig): Promise<void> {
  const result = { connections: 0, bytes: 0 };
  const servers = await Promise.all(
    listen.map(
      ({ address, port }) =>
        new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
          const server = createServer((socket) => {
            result.connections += 1;
            socket.on("data", (bytes) => {
              result.bytes += bytes.length;
            });
            socket.on("error", () => socket.destroy());
          });
          server.once("error", reject);
          server.listen({ host: address, port, ipv6Only: address === "::" }, () => resolve(server));
        }),
    ),
  );
  console.log("ready");
  await untilTold();
  for (const server of servers) server.close();
  console.log(JSON.stringify(result satisfies SquatResult));
}
