// An HTTPS server that knows nothing of the mesh: `PORT WORD CERTIFICATE KEY`. /size/N answers N bytes, everything else its word and
// whom the client asked for.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { TLSSocket } from "node:tls";

const [port = "", word = "", cert = "", key = ""] = process.argv.slice(2);

createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (request, response) => {
  const size = /^\/size\/(\d+)$/.exec(request.url ?? "")?.[1];
  const { servername } = request.socket as TLSSocket;
  response.end(size === undefined ? `${word} ${servername}\n` : Buffer.alloc(Number(size), word));
}).listen(Number(port), "::");
