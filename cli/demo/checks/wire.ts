// Step 2: pages come, and between the hosts there is TLS 1.3 and nothing else. The capture began before the first agent did.
import { MESH_PORT } from "../../../agent/api/mesh-wire.ts";
import { type Flow, isAllTlsRecords, tlsVersionChosen } from "../capture.ts";
import { ECHO_PORT, hostOf, UID } from "../layout.ts";
import { askOnce } from "../parts/http-client.ts";
import { holds, isOnly, measure, type Step, shown } from "./step.ts";

const PAGES = 50;
/** Travels in a header from host to host, and as a line to the echo: nobody on the wire may read it. */
const MARKER = "nobody-between-the-hosts-reads-this";
/** What an HTTP message or the bookstore's answers would show. */
const READABLE = [MARKER, "HTTP/1.1", "Shakespeare", "Reviewer1", "end-user"];
const TLS13 = 0x0304;

export const wire: Step = {
  number: 2,
  claim: "pages come through the mesh, TLS 1.3 on the wire and no plaintext of ours",
  async run(context) {
    const { capture, url, say } = context;
    if (capture === undefined) throw new Error("the capture does not run");
    say(`asking for ${PAGES} pages`);
    const target = { host: "127.0.0.1", port: Number(new URL(url).port) };
    for (let i = 0; i < PAGES; i++) {
      const headers = { "end-user": MARKER };
      const reply = await askOnce(target, { path: "/productpage", host: "productpage", headers });
      const isWhole = reply.status === 200 && !reply.body.includes("Error fetching");
      holds(isWhole, () => `page ${i + 1} came with ${reply.status}: ${reply.body.slice(0, 300)}`);
    }
    const echoed = await measure(context, hostOf("visitor"), UID.visitor, {
      is: "talk",
      host: "echo",
      port: ECHO_PORT,
      text: `${MARKER}\n`,
      isHalfClosed: true,
      timeoutMs: 5_000,
    });
    holds(
      isOnly(echoed.outcomes, "closed", 1) && echoed.last.body === `${MARKER}\n`,
      () => `the TCP echo gave ${shown(echoed.outcomes)} ${echoed.last.body}`,
    );
    say("reading what crossed the router");
    return describe(await capture.stop());
  },
};

function describe(flows: readonly Flow[]): string {
  const talking = flows.filter(({ payload }) => payload.length > 0);
  const answers = talking.filter(({ from }) => from.endsWith(`:${MESH_PORT}`));
  holds(answers.length > 0, () => "no connection between agents was seen");
  for (const flow of talking) {
    const read = READABLE.find((text) => flow.payload.includes(text));
    holds(read === undefined, () => `"${read}" can be read from ${flow.from} to ${flow.to}`);
    holds(isAllTlsRecords(flow.payload), () => `${flow.from} to ${flow.to} is not TLS`);
  }
  for (const { from, to, payload } of answers) {
    const version = tlsVersionChosen(payload);
    holds(version === TLS13, () => `${from} to ${to} is TLS ${version?.toString(16) ?? "unknown"}`);
  }
  const bytes = talking.reduce((sum, { payload }) => sum + payload.length, 0);
  return `${PAGES} pages and an echo; ${answers.length} mesh connections, all TLS 1.3; ${Math.round(bytes / 1024)} KB of ${talking.length} streams seen, 0 readable`;
}
