// Sends back whatever it hears, for as long as the other side likes.
import { createServer } from "node:net";

createServer((socket) => {
  socket.setNoDelay(true);
  socket.on("error", () => socket.destroy());
  socket.pipe(socket);
}).listen(Number(process.env["PORT"] ?? 9000), () => console.log("ready"));
