// A client of the benchmark, run inside host a: tries until a request is answered with 200, each refusal at once again, and says at
// what time of the wall clock (ms) that was. `bun probe.ts ADDRESS PORT`; says "trying" first.
import { connect } from "node:net";

const [address = "", port = ""] = process.argv.slice(2);
const REQUEST = "GET /100 HTTP/1.1\r\nhost: bench\r\n\r\n";
const AGAIN_MS = 1;

function tryOnce(): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(Number(port), address, () => socket.write(REQUEST));
    socket.once("data", (data: Buffer) => {
      socket.destroy();
      resolve(data.toString("latin1").startsWith("HTTP/1.1 200"));
    });
    socket.once("error", () => resolve(false));
    socket.once("end", () => resolve(false));
  });
}

console.log("trying");
while (!(await tryOnce())) await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
console.log(`answered ${performance.timeOrigin + performance.now()}`);
process.exit(0);
