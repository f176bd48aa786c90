// How many stars each reviewer gave.
import { createServer } from "node:http";

createServer((request, response) => {
  const id = /^\/ratings\/([0-9]+)$/.exec((request.url ?? "").split("?")[0] ?? "")?.[1];
  const isHealth = request.url === "/health";
  const body = JSON.stringify(
    id === undefined
      ? { status: isHealth ? "ratings is healthy" : "no such path" }
      : { id: Number(id), ratings: { Reviewer1: 5, Reviewer2: 4 } },
  );
  response.writeHead(id === undefined && !isHealth ? 404 : 200, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
  });
  response.end(body);
}).listen(Number(process.env["PORT"] ?? 9080), () => console.log("ready"));
