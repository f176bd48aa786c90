// The shop's front page: asks details and reviews by plain names over plain HTTP, as any program would.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";

const DETAILS = process.env["DETAILS_URL"] ?? "http://details:9080";
const REVIEWS = process.env["REVIEWS_URL"] ?? "http://reviews:9080";
const PASSED_ON = [
  "end-user",
  "x-request-id",
  "x-b3-traceid",
  "x-b3-spanid",
  "x-b3-parentspanid",
  "x-b3-sampled",
  "x-b3-flags",
  "traceparent",
  "tracestate",
  "cookie",
  "authorization",
  "user-agent",
];

interface Answer {
  readonly status: number;
  readonly body: unknown;
  readonly text: string;
}
interface Details {
  readonly author: string;
  readonly year: number;
  readonly publisher: string;
}
interface Review {
  readonly reviewer: string;
  readonly text: string;
  readonly rating?: { readonly stars?: number; readonly color?: string; readonly error?: string };
}
interface Reviews {
  readonly podname: string;
  readonly version: string;
  readonly reviews: readonly Review[];
}

async function ask(url: string, headers: Record<string, string>): Promise<Answer> {
  try {
    const answer = await fetch(url, { headers, signal: AbortSignal.timeout(3000) });
    const text = await answer.text();
    return { status: answer.status, text, body: answer.ok ? JSON.parse(text) : undefined };
  } catch (cause) {
    return { status: 0, body: undefined, text: String(cause) };
  }
}

const escaped = (text: string): string =>
  text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

function starsOf(review: Review): string {
  const { stars, color = "black", error } = review.rating ?? {};
  if (error !== undefined) return `<p><em>${escaped(error)}</em></p>`;
  if (stars === undefined) return "";
  return `<p style="color:${escaped(color)}">${"★".repeat(stars)}${"☆".repeat(5 - stars)}</p>`;
}

function reviewsHtml(answer: Answer): string {
  if (answer.body === undefined)
    return `<h2>Error fetching product reviews!</h2><p>status ${answer.status}: ${escaped(answer.text)}</p>`;
  const { version, podname, reviews } = answer.body as Reviews;
  const quotes = reviews.map(
    (one) =>
      `<blockquote><p>${escaped(one.text)}</p><cite>${escaped(one.reviewer)}</cite>${starsOf(one)}</blockquote>`,
  );
  return `<h2>Reviews</h2><p>served by <b id="reviews-version">${escaped(version)}</b> on ${escaped(podname)}</p>${quotes.join("")}`;
}

function detailsHtml(answer: Answer): string {
  if (answer.body === undefined)
    return `<h2>Error fetching product details!</h2><p>status ${answer.status}: ${escaped(answer.text)}</p>`;
  const { author, year, publisher } = answer.body as Details;
  return `<h2>Details</h2><p>${escaped(author)}, ${year}, ${escaped(publisher)}</p>`;
}

function passedOn(request: IncomingMessage): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const name of PASSED_ON) {
    const value = request.headers[name];
    if (typeof value === "string") headers[name] = value;
  }
  return headers;
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body) });
  response.end(body);
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = (request.url ?? "/").split("?")[0];
  const headers = passedOn(request);
  if (path === "/health") return send(response, 200, "text/plain", "productpage is healthy\n");
  if (path === "/api/v1/products/0/reviews") {
    const answer = await ask(`${REVIEWS}/reviews/0`, headers);
    return send(response, answer.status || 502, "application/json", answer.text);
  }
  if (path !== "/" && path !== "/productpage")
    return send(response, 404, "text/plain", "no such page\n");
  const [details, reviews] = await Promise.all([
    ask(`${DETAILS}/details/0`, headers),
    ask(`${REVIEWS}/reviews/0`, headers),
  ]);
  const user = headers["end-user"];
  const page = `<!doctype html><meta charset="utf-8"><title>Simple Bookstore App</title>
<h1>The Comedy of Errors</h1>${user === undefined ? "" : `<p>signed in as ${escaped(user)}</p>`}
${detailsHtml(details)}
${reviewsHtml(reviews)}
`;
  send(response, 200, "text/html; charset=utf-8", page);
}

createServer((request, response) => {
  serve(request, response).catch((cause: unknown) => {
    console.error(cause);
    response.destroy();
  });
}).listen(Number(process.env["PORT"] ?? 9080), () => console.log("ready"));
