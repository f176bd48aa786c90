// What is known about a book.
import { createServer } from "node:http";

createServer((request, response) => {
  const id = /^\/details\/([0-9]+)$/.exec((request.url ?? "").split("?")[0] ?? "")?.[1];
  const isHealth = request.url === "/health";
  const body = JSON.stringify(
    id === undefined
      ? { status: isHealth ? "details is healthy" : "no such path" }
      : {
          id: Number(id),
          author: "William Shakespeare",
          year: 1595,
          type: "paperback",
          pages: 200,
          publisher: "PublisherA",
          language: "English",
          "ISBN-10": "1234567890",
        },
  );
  response.writeHead(id === undefined && !isHealth ? 404 : 200, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
  });
  response.end(body);
}).listen(Number(process.env["PORT"] ?? 9080), () => console.log("ready"));
