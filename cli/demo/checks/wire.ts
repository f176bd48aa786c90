// Step 2: pages come, and between the hosts there is TLS 1.3, sealed gossip, and nothing else. The capture began before the first
// agent did.
import { GOSSIP_PORT, SERVER_GOSSIP_PORT } from "../../../agent/api/gossip.ts";
import { MESH_PORT } from "../../../agent/api/mesh-wire.ts";
import { type Flow, isAllTlsRecords, tlsVersionChosen } from "../capture.ts";
import { ECHO_PORT, gatewayOf, hostOf, namespaceOf, ORDINARY_NAME, UID } from "../layout.ts";
import { askOnce } from "../parts/http-client.ts";
import { type CheckContext, holds, isOnly, measure, type Step, shown } from "./step.ts";

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
    const names = await namesWork(context);
    say("reading what crossed the router");
    return `${names}; ${describe(await capture.stop())}`;
  },
};

/** The host's own resolver, its resolv.conf untouched, answers plain names; the agent answers the mesh's. */
async function namesWork(context: CheckContext): Promise<string> {
  const { demo, say } = context;
  say("names of the mesh and of the world");
  const web = hostOf("productpage");
  const lookUp = async (name: string): Promise<string> => {
    const asked = ["getent", "ahostsv4", name];
    const { stdout } = await demo.lab.run(namespaceOf(web), asked, { uid: UID.productpage });
    return stdout.split(/\s/)[0] ?? "";
  };
  const [reviews, site] = [await lookUp("reviews"), await lookUp(ORDINARY_NAME)];
  holds(reviews.startsWith("240.240."), () => `reviews is at ${reviews || "no address"}`);
  holds(site === gatewayOf(web), () => `${ORDINARY_NAME} is at ${site || "no address"}`);
  return `reviews is ${reviews}, ${ORDINARY_NAME} still ${site}`;
}

const isGossip = ({ from, to }: Flow): boolean =>
  [GOSSIP_PORT, SERVER_GOSSIP_PORT].some(
    (port) => from.endsWith(`:${port}`) || to.endsWith(`:${port}`),
  );

/** One frame: its length, then version 1 of the sealed letter (agent/membership/keyring.ts). */
const isSealed = (payload: Buffer): boolean =>
  payload.length > 5 && payload.readUInt32BE(0) === payload.length - 4 && payload[4] === 1;

function describe(flows: readonly Flow[]): string {
  const talking = flows.filter(({ payload }) => payload.length > 0);
  const answers = talking.filter(({ from }) => from.endsWith(`:${MESH_PORT}`));
  holds(answers.length > 0, () => "no connection between agents was seen");
  for (const flow of talking) {
    const read = READABLE.find((text) => flow.payload.includes(text));
    holds(read === undefined, () => `"${read}" can be read from ${flow.from} to ${flow.to}`);
    const isFine = isGossip(flow) ? isSealed(flow.payload) : isAllTlsRecords(flow.payload);
    holds(isFine, () => `${flow.from} to ${flow.to} is neither TLS nor sealed gossip`);
  }
  for (const { from, to, payload } of answers) {
    const version = tlsVersionChosen(payload);
    holds(version === TLS13, () => `${from} to ${to} is TLS ${version?.toString(16) ?? "unknown"}`);
  }
  const bytes = talking.reduce((sum, { payload }) => sum + payload.length, 0);
  return `${PAGES} pages and an echo; ${answers.length} mesh connections, all TLS 1.3; ${Math.round(bytes / 1024)} KB of ${talking.length} streams seen, 0 readable`;
}
