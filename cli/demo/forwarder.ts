// The machine's end of the bridge: a port on 127.0.0.1 that leads into a host of the lab (see parts/relay.ts).
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { join } from "./parts/relay.ts";

export interface Forwarder {
  readonly port: number;
  close(): void;
}

/** Prefers the port asked for, so that URLs look as in every tutorial, and takes any other when it is taken. */
export async function openForwarder(preferredPort: number, path: string): Promise<Forwarder> {
  const server = createServer({ allowHalfOpen: true }, (near) =>
    join(near, connect({ path, allowHalfOpen: true })),
  );
  const isOpen = await listen(server, preferredPort);
  if (!isOpen) await listen(server, 0);
  const { port } = server.address() as AddressInfo;
  return { port, close: () => void server.close() };
}

function listen(server: Server, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => resolve(true));
  });
}
