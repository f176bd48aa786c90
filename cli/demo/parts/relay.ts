// A bridge into a host: Unix sockets are files and so cross network namespaces. This end runs inside the host, as a user of no
// workload, and dials what the other end (forwarder.ts, on the machine itself) asks for by the socket it chooses.
import { rmSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";

/** `SOCKET=ADDRESS:PORT` each. */
export async function serveRelay(routes: readonly string[]): Promise<void> {
  await Promise.all(routes.map(serveRoute));
  console.log("ready");
  await untilTold();
}

/** A part serves until it is ended. */
export const untilTold = (): Promise<void> =>
  new Promise((resolve) => process.once("SIGTERM", () => resolve()));

function serveRoute(route: string): Promise<void> {
  const [path = "", target = ""] = route.split("=");
  const colon = target.lastIndexOf(":");
  const host = target.slice(0, colon);
  const port = Number(target.slice(colon + 1));
  rmSync(path, { force: true });
  const server = createServer({ allowHalfOpen: true, pauseOnConnect: false }, (near) =>
    join(near, connect({ host, port, allowHalfOpen: true })),
  );
  return new Promise((resolve, reject) => {
    server.on("error", reject);
    server.listen(path, () => resolve());
  });
}

/** Bytes both ways, half-close kept; a broken side breaks the other. */
export function join(near: Socket, far: Socket): void {
  for (const [from, to] of [
    [near, far],
    [far, near],
  ] as const) {
    from.on("error", () => {
      from.destroy();
      to.destroy();
    });
    from.on("close", (hadError) => {
      if (hadError) to.destroy();
    });
    from.pipe(to);
  }
}
