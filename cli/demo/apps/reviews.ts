// What readers say. Version 1 shows no stars; 2 (black) and 3 (red) ask the ratings service for them.
import { createServer, type IncomingMessage } from "node:http";
import { hostname } from "node:os";

const VERSION = process.env["VERSION"] ?? "v1";
const RATINGS = process.env["RATINGS_URL"] ?? "http://ratings:9080";
const COLOR = VERSION === "v3" ? "red" : "black";
const PASSED_ON = ["end-user", "x-request-id", "traceparent", "tracestate", "user-agent"];

interface Ratings {
  readonly ratings: { readonly [reviewer: string]: number };
}

async function ratingsFor(id: string, request: IncomingMessage): Promise<Ratings | undefined> {
  const headers: Record<string, string> = {};
  for (const name of PASSED_ON) {
    const value = request.headers[name];
    if (typeof value === "string") headers[name] = value;
  }
  try {
    const answer = await fetch(`${RATINGS}/ratings/${id}`, {
      headers,
      signal: AbortSignal.timeout(2500),
    });
    return answer.ok ? ((await answer.json()) as Ratings) : undefined;
  } catch {
    return undefined;
  }
}

function ratingOf(ratings: Ratings | undefined, reviewer: string): object {
  if (VERSION === "v1") return {};
  const stars = ratings?.ratings[reviewer];
  return stars === undefined
    ? { rating: { error: "Ratings service is currently unavailable" } }
    : { rating: { stars, color: COLOR } };
}

createServer(async (request, response) => {
  const id = /^\/reviews\/([0-9]+)$/.exec((request.url ?? "").split("?")[0] ?? "")?.[1];
  const isHealth = request.url === "/health";
  const ratings = id === undefined || VERSION === "v1" ? undefined : await ratingsFor(id, request);
  const body = JSON.stringify(
    id === undefined
      ? { status: isHealth ? "reviews is healthy" : "no such path" }
      : {
          id,
          podname: hostname(),
          version: VERSION,
          reviews: [
            {
              reviewer: "Reviewer1",
              text: "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!",
              ...ratingOf(ratings, "Reviewer1"),
            },
            {
              reviewer: "Reviewer2",
              text: "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare.",
              ...ratingOf(ratings, "Reviewer2"),
            },
          ],
        },
  );
  response.writeHead(id === undefined && !isHealth ? 404 : 200, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
  });
  response.end(body);
}).listen(Number(process.env["PORT"] ?? 9080), () => console.log("ready"));
