// A client of the benchmark, run inside host a: opens connections, sends one request on each, and keeps them, silent, until it is
// killed. `bun hold.ts ADDRESS PORT COUNT`; says "holding COUNT" when all were answered.
import { connect } from "node:net";

const [address = "", port = "", count = ""] = process.argv.slice(2);
const AT_ONCE = 50;
const REQUEST = "GET /100 HTTP/1.1\r\nhost: bench\r\n\r\n";

function openOne(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), address, () => socket.write(REQUEST));
    socket.once("data", (data: Buffer) =>
      data.toString("latin1").startsWith("HTTP/1.1 200") ? resolve() : reject(new Error(`${data}`)),
    );
    socket.once("error", reject);
  });
}

let left = Number(count);
const openSome = async (): Promise<void> => {
  while (left-- > 0) await openOne();
};
await Promise.all(Array.from({ length: AT_ONCE }, openSome));
console.log(`holding ${count}`);
