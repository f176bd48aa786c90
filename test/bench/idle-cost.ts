// What an idle plain connection costs one data thread: the real data path on real sockets, and a client in a process of its own that
// asks once on each connection and then says nothing. `bun test/bench/idle-cost.ts [CONNECTIONS]`: bytes a connection, of all
// anonymous memory and of the live heap, once the thread is warm.

import { heapStats } from "bun:jsc";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { Loop } from "../../agent/os/loop.ts";
import { collectGarbage } from "../../agent/os/memory.ts";
import { endpoint, VIP } from "../support/mesh-fixture.ts";
import { realPlane } from "../support/real-plane.ts";
import { memoryOf } from "./measure.ts";

const CONNECTIONS = Number(process.argv[2] ?? 5_000);
/** Fewer first: what the code itself takes until it is warm is not the connections'. */
const WARM_UP = 1_000;
/** An idle loop collects 2 s after its last event. */
const SETTLE_MS = 4_000;
const ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const APP = `require("node:net").createServer((socket) => {
  socket.on("data", () => socket.write(${JSON.stringify(ANSWER)})).on("error", () => {});
}).listen(0, "127.0.0.1", function () { console.log(this.address().port); });`;

const firstLine = async (child: ChildProcess): Promise<string> => {
  if (child.stdout === null) throw new Error("the child has no output");
  const [line] = await once(child.stdout, "data");
  return String(line);
};
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, SETTLE_MS));

function startPlane(loop: Loop, appPort: number): number {
  const app = endpoint(0, { mesh: undefined, address: "127.0.0.1", port: appPort });
  const { listen } = realPlane(loop, "client", { endpoints: [app] }, (error) => {
    throw error;
  });
  return listen("outbound", { address: VIP, port: 80 });
}

function weigh(): { heap: number; anonymous: number } {
  collectGarbage();
  return { heap: heapStats().heapSize, anonymous: memoryOf(process.pid).anonymous };
}

async function hold(port: number, count: number): Promise<string> {
  const before = weigh();
  const script = fileURLToPath(new URL("./hold.ts", import.meta.url));
  const client = spawn(process.execPath, [script, "127.0.0.1", `${port}`, `${count}`]);
  await firstLine(client);
  await settle();
  const after = weigh();
  const heap = (after.heap - before.heap) / count;
  const anonymous = ((after.anonymous - before.anonymous) * 1024 * 1024) / count;
  client.kill("SIGKILL");
  await settle();
  return `${count} connections: ${anonymous.toFixed(0)} bytes anonymous each, ${heap.toFixed(0)} of live heap`;
}

const app = spawn(process.execPath, ["-e", APP]);
const loop = new Loop();
loop.onIdle = collectGarbage;
const port = startPlane(loop, Number(await firstLine(app)));
await loop.start();
await settle();
console.log(`${await hold(port, WARM_UP)} (cold)`);
console.log(await hold(port, CONNECTIONS));
app.kill("SIGKILL");
process.exit(0);
