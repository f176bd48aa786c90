// While an agent is dead its ports are free for everybody: another user takes them, and its callers must still never reach him.
import { agentSnapshot, isAgentReady } from "../agents.ts";
import { addressOf, HTTP_PORT, hasIpv6, hostOf, namespaceOf, ROUTER, UID } from "../layout.ts";
import type { SquatConfig, SquatResult } from "../parts/squat.ts";
import { partCommand } from "../programs.ts";
import { until } from "../until.ts";
import { type CheckContext, holds, measure, requests, shown } from "./step.ts";

const TIMES = 20;
const web = hostOf("productpage");

export async function squatOnPorts(context: CheckContext): Promise<string> {
  const { demo, say } = context;
  const snapshot = await agentSnapshot(web);
  const own = snapshot?.workloads.find(({ name }) => name === "productpage");
  const reviews = snapshot?.services.find(({ name }) => name === "reviews");
  const page = snapshot?.services.find(({ name }) => name === "productpage");
  if (own === undefined || reviews === undefined || page === undefined)
    throw new Error("the agent on web does not know what the bookstore declared");
  say("another user takes a dead agent's ports");
  await demo.agentOn(web).stop("SIGKILL");
  const squatter = await Squatter.start(context, portsOf(own.outboundPort));
  const vips = [reviews.vip4, ...(hasIpv6() ? [reviews.vip6] : [])];
  const ways: readonly (readonly [what: string, ...how: Parameters<typeof call>])[] = [
    ...vips.map((vip) => ["productpage", context, web, UID.productpage, vip ?? ""] as const),
    ...vips.map((vip) => ["a user of no workload", context, web, UID.stranger, vip ?? ""] as const),
    ["a caller of web's service", context, hostOf("visitor"), UID.visitor, page.vip4 ?? ""],
    ["a plaintext client", context, ROUTER, UID.bystander, addressOf(web)],
  ];
  try {
    for (const [what, ...how] of ways) {
      const outcomes = await call(...how);
      const got = shown(outcomes);
      holds(!/[0-9] [0-9]/.test(got), () => `${what} was answered with the agent dead: ${got}`);
    }
  } finally {
    const { connections, bytes } = await squatter.stop();
    await demo.agentOn(web).start();
    await until("the agent on web", 15_000, () => isAgentReady(web));
    holds(connections + bytes === 0, () => `he got ${connections} connections, ${bytes} bytes`);
  }
  return `another user on ${squatter.count} of a dead agent's ports: 0 of ${ways.length * TIMES} connections reached him`;
}

/** Where callers' bytes would arrive: the listeners of this workload and of everybody, inbound and mesh. */
function portsOf(outboundPort: number): SquatConfig["listen"] {
  const families = hasIpv6() ? (["127.0.0.1", "::1"] as const) : (["127.0.0.1"] as const);
  return [
    ...families.flatMap((address) => [15001, outboundPort].map((port) => ({ address, port }))),
    ...[15006, 15008].flatMap((port) =>
      families.map((address) => ({ address: address === "::1" ? "::" : "0.0.0.0", port })),
    ),
  ];
}

async function call(
  context: CheckContext,
  where: Parameters<typeof measure>[1],
  uid: number,
  host: string,
): Promise<{ readonly [what: string]: number }> {
  const headers = { authorization: "Bearer for-reviews-alone" };
  const job = requests({ host, port: HTTP_PORT }, "/reviews/0", {
    headers,
    times: TIMES,
    connections: TIMES,
    isFresh: true,
    // The guard swallows his handshakes, so that nobody refuses: who dials him waits.
    timeoutMs: 1_000,
  });
  return (await measure(context, where, uid, job)).outcomes;
}

class Squatter {
  readonly count: number;
  readonly #stop: () => Promise<SquatResult>;

  private constructor(count: number, stop: () => Promise<SquatResult>) {
    this.count = count;
    this.#stop = stop;
  }

  static async start(
    { demo: { lab } }: CheckContext,
    listen: SquatConfig["listen"],
  ): Promise<Squatter> {
    const command = partCommand(lab, "squat", { listen } satisfies SquatConfig);
    const child = lab.spawn(namespaceOf(web), command, { uid: UID.stranger, stdio: "pipe" });
    let said = "";
    child.stdout?.on("data", (bytes: Buffer) => {
      said += bytes.toString();
    });
    const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
    await until("the other user's listeners", 5_000, () => {
      if (child.exitCode !== null) throw new Error("another user could not take the ports");
      return Promise.resolve(said.startsWith("ready\n"));
    });
    return new Squatter(listen.length, async () => {
      child.kill("SIGTERM");
      await ended;
      return JSON.parse(said.slice("ready\n".length)) as SquatResult;
    });
  }

  stop(): Promise<SquatResult> {
    return this.#stop();
  }
}
