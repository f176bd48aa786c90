// A process with the data planes of two hosts on real sockets: `plane-pair.ts APP_PORT [http2]`. What is asked of the port it prints goes
// through the first, in the clear to the second, and from there to the app, in HTTP/2 if so said.
import { Loop } from "../../agent/os/loop.ts";
import { endpoint, serverWorkload, VIP } from "./mesh-fixture.ts";
import { realPlane } from "./real-plane.ts";

const [, , appPort, spoken] = process.argv;
const loop = new Loop();
const onBug = (error: unknown): void => {
  console.error(error);
  process.exit(1);
};
const app = { address: "127.0.0.1", port: Number(appPort) };
const [declared] = serverWorkload().ports;
if (declared === undefined) throw new Error("the fixture has a port");
const speaks = spoken === "http2" ? ("http2" as const) : undefined;
const port = { ...declared, appAddress: app.address, appPort: app.port, speaks };
const server = realPlane(loop, "server", { workloads: [serverWorkload({ ports: [port] })] }, onBug);
const guarded = { address: app.address, port: server.listen("inbound", app), mesh: undefined };
const client = realPlane(loop, "client", { endpoints: [endpoint(0, guarded)] }, onBug);
console.log(client.listen("outbound", { address: VIP, port: 80 }));
await loop.start();
