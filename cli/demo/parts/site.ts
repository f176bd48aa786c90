// A web site on a port that nobody declared: what the mesh must leave alone.
import { createServer } from "node:http";
import { untilTold } from "./relay.ts";

export async function serveSite(port: number): Promise<void> {
  const site = createServer((_request, response) => {
    response.end("none of the mesh's business\n");
  });
  await new Promise<void>((resolve) => site.listen(port, "0.0.0.0", resolve));
  console.log("ready");
  await untilTold();
}
