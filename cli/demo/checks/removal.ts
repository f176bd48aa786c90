// Step 11: what came goes. `meshctl redirect remove` leaves no rule, set or route of ours, and an app that was behind it answers as it
// did before there was a mesh; an agent that starts again puts it back. `meshctl leave --purge` takes files and processes
// too, and the config server forgets the host.
import { existsSync, statSync } from "node:fs";
import { AGENT_FILES } from "../../service/unit-files.ts";
import { adminSocketOf, isAgentReady, stateOf } from "../agents.ts";
import {
  addressOf,
  type DemoHost,
  HTTP_PORT,
  hostOf,
  namespaceOf,
  ROUTER,
  UID,
} from "../layout.ts";
import { pathOf } from "../requirements.ts";
import { runOrThrow } from "../shell.ts";
import { until } from "../until.ts";
import { type CheckContext, holds, isOnly, measure, requests, type Step, shown } from "./step.ts";

const TIMES = 20;
const south = hostOf("reviews-v2");

export const removal: Step = {
  number: 11,
  claim: "redirect remove and leave --purge leave nothing of ours",
  async run(context) {
    const { demo, say } = context;
    say("an agent that is stopped leaves its redirect");
    await demo.agentOn(south).stop("SIGTERM");
    const stood = await leftOn(context, south);
    holds(stood.length > 0, () => "a stopped agent's redirect is gone: plaintext could pass");
    const refused = await askPlainly(context);
    holds((refused["200"] ?? 0) === 0, () => `past a stopped agent: ${shown(refused)}`);
    say("meshctl redirect remove");
    await meshctl(context, "redirect", "remove");
    const left = await leftOn(context, south);
    holds(left.length === 0, () => `left behind: ${left.slice(0, 5).join("; ")}`);
    const plain = await askPlainly(context);
    holds(isOnly(plain, "200", TIMES), () => `without a redirect the app gives ${shown(plain)}`);
    await demo.agentOn(south).start();
    await until("the agent on south", 15_000, () => isAgentReady(south));
    const again = (await leftOn(context, south)).length;
    holds(again > 0, () => "the agent did not put its redirect back");
    const gone = await leave(context);
    return `of ${stood.length} lines in the kernel 0 left, the app answers ${TIMES} of ${TIMES} as before the mesh; back with the agent; ${gone}`;
  },
};

/** A host shares its files with this machine: units of an agent that lives here would be taken for the demo's. */
async function leave(context: CheckContext): Promise<string> {
  if (AGENT_FILES.some(({ path }) => existsSync(path)))
    return "leave not tried, since this machine has an agent of its own";
  context.say("meshctl leave --purge");
  await meshctl(context, "leave", "--purge");
  const left = await leftOn(context, south);
  holds(left.length === 0, () => `leave left behind: ${left.slice(0, 5).join("; ")}`);
  const processes = await agentsOn();
  holds(processes.length === 0, () => `leave left process ${processes.join(", ")}`);
  const files = [stateOf(south), adminSocketOf(south)].filter((path) => existsSync(path));
  holds(files.length === 0, () => `leave left ${files.join(", ")}`);
  const { hosts } = await context.demo.operator.status();
  holds(!hosts.some(({ name }) => name === south.name), () => "the config server still lists it");
  return "leave --purge: no rule, route, file or process of ours, and the config server has forgotten the host";
}

/** Processes of the agent's user on south. */
async function agentsOn(): Promise<readonly string[]> {
  const listed = await runOrThrow(["ip", "netns", "pids", namespaceOf(south)]);
  return listed
    .split("\n")
    .filter(
      (pid) => pid !== "" && statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid === UID.agent,
    );
}

/** On south, as its root. */
async function meshctl(
  { demo: { lab } }: CheckContext,
  ...words: readonly string[]
): Promise<void> {
  const places = ["--state-dir", stateOf(south), "--admin-socket", adminSocketOf(south)];
  const command = lab.meshctl(...words, ...places);
  const { code, stdout, stderr } = await lab.run(namespaceOf(south), command, { uid: 0 });
  holds(code === 0, () => `meshctl ${words.join(" ")}: ${stderr || stdout}`);
}

/** A client without an agent, at the app's own address. */
async function askPlainly(context: CheckContext): Promise<{ readonly [what: string]: number }> {
  const to = { host: addressOf(south), port: HTTP_PORT };
  const job = requests(to, "/health", { times: TIMES, connections: TIMES, isFresh: true });
  return (await measure(context, ROUTER, UID.bystander, { ...job, timeoutMs: 2_000 })).outcomes;
}

const LISTINGS = [
  "iptables-save",
  "ip6tables-save",
  "iptables-legacy-save",
  "ip6tables-legacy-save",
  "nft list ruleset",
  "ipset list -n",
  "ip -4 route show table all",
  "ip -6 route show table all",
  "ip -4 rule",
  "ip -6 rule",
];
/** Chains, sets and tables by our names; routes by our protocol number and our ranges; a rule for any table that is not the kernel's. */
const OURS = /ironmesh|proto 143\b|\b240\.240\.|\b2001:2::|lookup (?!local\b|main\b|default\b)\S+/i;

/** Every line in the kernel of that host that is ours. */
async function leftOn({ demo: { lab } }: CheckContext, host: DemoHost): Promise<readonly string[]> {
  const found: string[] = [];
  for (const listing of LISTINGS) {
    const command = listing.split(" ");
    if (pathOf(command[0] ?? "") === undefined) continue;
    const { stdout } = await lab.run(namespaceOf(host), command, { uid: 0 });
    found.push(...stdout.split("\n").filter((line) => OURS.test(line)));
  }
  return found;
}
