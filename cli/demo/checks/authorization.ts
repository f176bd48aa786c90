// Step 5: who somebody is, is what the kernel says his user is; nobody else can be him. Only productpage may GET reviews: not another user
// beside it, not a user on reviews' own host, not who dials a workload's listener, not who hangs up fast.
import { agentMetrics, agentSnapshot } from "../agents.ts";
import {
  address6Of,
  addressOf,
  type DemoHost,
  HOSTS,
  HTTP_PORT,
  hasIpv6,
  hostOf,
  LATE_ADDRESS,
  namespaceOf,
  UID,
} from "../layout.ts";
import { parseMetrics, type Sample } from "../metrics.ts";
import { runOrThrow } from "../shell.ts";
import { applyEverywhere } from "./canary.ts";
import { type CheckContext, holds, isOnly, measure, requests, type Step, shown } from "./step.ts";

const POLICY = "reviews-only-productpage";
const REVIEWS = { host: "reviews", port: HTTP_PORT };
const PATH = "/reviews/0";
const TIMES = 20;
const STRANGERS = 10_000;

export const authorization: Step = {
  number: 5,
  claim: "only productpage may GET reviews, and nobody passes for another",
  async run(context) {
    const reachedMs = await applyEverywhere(context, "reviews-only-productpage.yaml");
    await productpageMayOnlyGet(context);
    const refusals = await strangersAreRefused(context);
    const why = await refusalIsExplained(context, refusals.decision);
    await virtualAddressesLeadNowhere(context);
    const dials = await listenersAreCut(context);
    const strangers = await strangersCountAsNobodyElse(context);
    await context.demo.operator.delete("authorizationpolicy", POLICY);
    return `in force after ${reachedMs} ms; ${refusals.ways} callers got 403 naming the policy; ${why}; ${dials} dials of listeners cut and counted; ${strangers}`;
  },
};

const web = hostOf("productpage");
const north = hostOf("reviews-v1");

async function productpageMayOnlyGet(context: CheckContext): Promise<void> {
  context.say("productpage's own user");
  const get = requests(REVIEWS, PATH, { times: TIMES });
  const got = await measure(context, web, UID.productpage, get);
  holds(isOnly(got.outcomes, "200", TIMES), () => `productpage's GET: ${shown(got.outcomes)}`);
  const post = requests(REVIEWS, PATH, { times: TIMES, method: "POST" });
  const posted = await measure(context, web, UID.productpage, post);
  holds(isOnly(posted.outcomes, "403", TIMES), () => `its POST: ${shown(posted.outcomes)}`);
}

/** Returns how many ways were tried, and the id of the last refusal. */
async function strangersAreRefused(
  context: CheckContext,
): Promise<{ readonly ways: number; readonly decision: string }> {
  const at = (host: string): typeof REVIEWS => ({ host, port: HTTP_PORT });
  const ways: readonly (readonly [what: string, from: DemoHost, to: typeof REVIEWS])[] = [
    ["another user on productpage's host", web, REVIEWS],
    ["a user on reviews' own host, by name", north, REVIEWS],
    ["a user on reviews' own host, at 127.0.0.1", north, at("127.0.0.1")],
    ["a user on reviews' own host, at its address", north, at(addressOf(north))],
    ["a user on reviews' own host, at an address it got since", north, at(LATE_ADDRESS)],
    ["a user elsewhere, at reviews' address", web, at(addressOf(north))],
    ...(hasIpv6()
      ? ([
          ["a user on reviews' own host, at ::1", north, at("::1")],
          ["a user on reviews' own host, at its IPv6 address", north, at(address6Of(north))],
        ] as const)
      : []),
  ];
  await runOrThrow(["ip", "-n", namespaceOf(north), "addr", "add", LATE_ADDRESS, "dev", "lo"]);
  let decision = "";
  for (const [what, from, to] of ways) {
    context.say(what);
    const job = requests(to, PATH, { times: TIMES });
    const { outcomes, last } = await measure(context, from, UID.stranger, job);
    holds(isOnly(outcomes, "403", TIMES), () => `${what} got ${shown(outcomes)}`);
    const said = `${JSON.stringify(last.headers)} ${last.body}`;
    holds(said.includes(POLICY), () => `the 403 for ${what} does not name the policy: ${said}`);
    decision = last.headers["x-ironmesh-decision"] ?? "";
  }
  return { ways: ways.length, decision };
}

/** The command that a person would paste; it must name the policy, the clause, and the line that admits. */
async function refusalIsExplained(context: CheckContext, decision: string): Promise<string> {
  context.say("why the last of them was refused");
  const { operator } = context.demo;
  const said = await operator.runOrThrow("explain", decision);
  for (const part of [POLICY, "spec.rules[0].from[0].source.principals", "to admit it:"])
    holds(said.includes(part), () => `meshctl explain ${decision} does not say ${part}: ${said}`);
  return `\`${operator.commandLine()} explain ${decision}\` says why`;
}

/** Virtual addresses are local to every host: one that means no service must not lead to who listens there. */
async function virtualAddressesLeadNowhere(context: CheckContext): Promise<void> {
  context.say("virtual addresses of no service");
  const addresses = [UNUSED_VIP, ...(hasIpv6() ? [UNUSED_VIP6] : [])];
  for (const host of addresses) {
    const job = requests({ host, port: HTTP_PORT }, PATH, { times: TIMES });
    const { outcomes } = await measure(context, north, UID.stranger, job);
    const cut = (outcomes["reset"] ?? 0) + (outcomes["closed"] ?? 0);
    holds(
      cut === TIMES,
      () => `${host}:${HTTP_PORT}, which is no service, gave ${shown(outcomes)}`,
    );
  }
}
const UNUSED_VIP = "240.240.200.200";
const UNUSED_VIP6 = "2001:2::c8c8";

/** Dials every workload's outbound listener directly, from everywhere. Returns how many dials there were. */
async function listenersAreCut(context: CheckContext): Promise<number> {
  context.say("dialling a workload's listener");
  const snapshot = await agentSnapshot(web);
  const listener = snapshot?.workloads.find(({ name }) => name === "productpage");
  const vip = snapshot?.services.find(({ name }) => name === "reviews")?.vip4;
  if (listener === undefined || vip === undefined)
    throw new Error("the agent on web knows no productpage, or no address of reviews");
  const port = listener.outboundPort;
  const ways: readonly (readonly [from: DemoHost, address: string])[] = [
    [web, "127.0.0.1"],
    [web, addressOf(web)],
    [web, vip],
    [north, addressOf(web)],
    ...(hasIpv6()
      ? ([
          [web, "::1"],
          [web, address6Of(web)],
          [north, address6Of(web)],
        ] as const)
      : []),
  ];
  const before = await directDials(web);
  for (const [from, address] of ways) {
    const { outcomes } = await measure(context, from, UID.stranger, {
      is: "requests",
      host: address,
      port,
      authority: "reviews:9080",
      path: PATH,
      headers: {},
      times: TIMES,
      connections: 1,
      isFresh: true,
      timeoutMs: 5_000,
    });
    const cut = ["reset", "closed", "refused"].reduce((sum, how) => sum + (outcomes[how] ?? 0), 0);
    holds(cut === TIMES, () => `${from.name} dialling ${address}:${port} got ${shown(outcomes)}`);
  }
  const counted = (await directDials(web)) - before;
  const dials = ways.length * TIMES;
  holds(counted === dials, () => `of ${dials} dials of a listener ${counted} were counted`);
  return dials;
}

async function strangersCountAsNobodyElse(context: CheckContext): Promise<string> {
  context.say(`${STRANGERS} connections of a stranger that send and close at once`);
  const before = await countsByPrincipal();
  const { outcomes, tookMs } = await measure(context, web, UID.stranger, {
    is: "hang-up",
    ...REVIEWS,
    text: `GET ${PATH} HTTP/1.1\r\nhost: reviews:9080\r\n\r\n`,
    times: STRANGERS,
    atOnce: 32,
  });
  holds(isOnly(outcomes, "sent", STRANGERS), () => `the stranger's dials: ${shown(outcomes)}`);
  const after = await untilSettled();
  const others = [...after].filter(
    ([principal, count]) => !isStranger(principal) && count !== (before.get(principal) ?? 0),
  );
  holds(others.length === 0, () => {
    const found = others.map(([who, count]) => `${count - (before.get(who) ?? 0)} as ${who}`);
    return `connections of a stranger count as somebody else's: ${found.join(", ")}`;
  });
  const own = [...after].reduce((sum, [who, count]) => sum + count - (before.get(who) ?? 0), 0);
  holds(own >= STRANGERS, () => `only ${own} of the stranger's connections were counted at all`);
  return `${STRANGERS} hang-ups of a stranger in ${(tookMs / 1000).toFixed(1)} s, 0 of ${own} counted as another's`;
}

/** A process of no workload is the host itself, or nobody. */
const isStranger = (principal: string): boolean =>
  principal === "unknown" || principal.endsWith(`/sa/host.${web.name}`);

const COUNTED = ["istio_requests_total", "istio_tcp_connections_opened_total"];

/** Requests and connections that all agents saw, by who they say had made them. */
async function countsByPrincipal(): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (const host of HOSTS) {
    for (const { name, labels, value } of await samplesOf(host)) {
      if (!COUNTED.includes(name)) continue;
      const who = labels["source_principal"] ?? "unknown";
      counts.set(who, (counts.get(who) ?? 0) + value);
    }
  }
  return counts;
}

/** Once nothing is counted any more: a connection is counted when it ends. */
async function untilSettled(): Promise<Map<string, number>> {
  for (let last = -1; ; ) {
    const counts = await countsByPrincipal();
    const total = [...counts.values()].reduce((sum, one) => sum + one, 0);
    if (total === last) return counts;
    last = total;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

async function directDials(host: DemoHost): Promise<number> {
  const samples = await samplesOf(host);
  return samples
    .filter(({ name }) => name === DIRECT_DIALS)
    .reduce((sum, { value }) => sum + value, 0);
}
const DIRECT_DIALS = "ironmesh_listener_dialled_total";

async function samplesOf(host: DemoHost): Promise<readonly Sample[]> {
  const text = await agentMetrics(host);
  if (text === undefined) throw new Error(`the agent on ${host.name} tells no metrics`);
  return parseMetrics(text);
}
