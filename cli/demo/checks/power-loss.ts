// Step 6: one of two hosts that serve ratings dies. Three ways: its power is gone (cable out, then every process killed), its agent
// is frozen, its packets get out no more. Each time every other agent finds out by gossip, and nobody who asks notices.
import type { MembersAnswer } from "../../../agent/api/gossip.ts";
import { agentMembers } from "../agents.ts";
import { addressOf, HOSTS, HTTP_PORT, hostNamed, hostOf, ROUTER, UID } from "../layout.ts";
import {
  type CheckContext,
  holds,
  isOnly,
  measure,
  requests,
  type Step,
  shown,
  within,
} from "./step.ts";
import { underLoad } from "./under-load.ts";

/** Serves ratings as stock does, and one of three versions of reviews. */
const VICTIM = hostNamed("south");
/** What the power loss must keep to; the goal is 1 s in the middle, 2 s at most. */
const WINDOW_MAX_MS = 4_000;
const FINDS_WITHIN_MS = 20_000;
const TIMES = 100;
/** Each look costs every agent a request: more often, and the looking is what they are busy with. */
const POLL_MS = 50;
/** What began inside the window ends in this time, well or not: the longest timeout of the bookstore's own programs. */
const UNDER_WAY_MS = 3_000;

export const powerLoss: Step = {
  number: 6,
  claim: "a host that loses power, freezes or falls silent gets no traffic, and no request fails",
  async run(context) {
    await untilSeen(false);
    const windows: number[] = [];
    const loads: string[] = [];
    for (let round = 1; round <= context.effort.powerLosses; round++) {
      context.say(`power loss ${round} of ${context.effort.powerLosses}`);
      try {
        loads.push(
          await underLoad(context, async (forgive) => {
            windows.push(await windowOf(context, () => context.demo.powerOff(VICTIM)));
            await new Promise((resolve) => setTimeout(resolve, UNDER_WAY_MS));
            forgive();
            return `after it ${await ratings(context)}`;
          }),
        );
      } finally {
        await context.demo.powerOn(VICTIM);
      }
      await untilSeen(false);
    }
    const figures = [
      `power off to no balancer picking it: ${windowsText(windows)}`,
      loads.at(-1) ?? "",
      `frozen agent found after ${await frozen(context)} ms`,
      `one-way cut after ${await cutOneWay(context)} ms`,
    ];
    return figures.join("; ");
  },
};

function windowsText(windows: readonly number[]): string {
  const sorted = windows.map(Math.round).sort((a, b) => a - b);
  if (sorted.length === 1) return `${sorted[0]} ms`;
  return `p50 ${sorted[Math.floor(sorted.length / 2)]} ms, most ${sorted.at(-1)} ms of ${sorted.length}`;
}

async function frozen(context: CheckContext): Promise<number> {
  context.say("its agent is frozen");
  const agent = context.demo.agentOn(VICTIM);
  try {
    const ms = await windowOf(context, () => Promise.resolve(agent.signal("SIGSTOP")));
    await ratings(context);
    return Math.round(ms);
  } finally {
    agent.signal("SIGCONT");
    await untilSeen(false);
  }
}

async function cutOneWay(context: CheckContext): Promise<number> {
  context.say("what it sends gets nowhere");
  const { lab } = context.demo;
  const rule = ["FORWARD", "-s", addressOf(VICTIM), "-j", "DROP"];
  const iptables = async (how: "-I" | "-D"): Promise<void> => {
    const { code, stderr } = await lab.run(ROUTER, ["iptables", how, ...rule], { uid: 0 });
    if (code !== 0) throw new Error(`the router's rule: ${stderr}`);
  };
  try {
    const ms = await windowOf(context, () => iptables("-I"));
    await ratings(context);
    return Math.round(ms);
  } finally {
    await iptables("-D");
    await untilSeen(false);
  }
}

/** From just before `strike` to when the last of the other agents sends nothing there any more. */
async function windowOf(
  context: CheckContext,
  strike: () => Promise<unknown> | undefined,
): Promise<number> {
  const startedMs = performance.now();
  await strike();
  const foundMs = await untilSeen(true);
  within(context, "the last agent's finding out", foundMs - startedMs, WINDOW_MAX_MS);
  return foundMs - startedMs;
}

/** Resolves, with the moment, when all other agents agree on whether traffic should go to the victim. */
async function untilSeen(isDown: boolean): Promise<number> {
  const others = HOSTS.filter((host) => host !== VICTIM);
  const deadlineMs = performance.now() + FINDS_WITHIN_MS;
  for (;;) {
    const views = await Promise.all(others.map(agentMembers));
    const nowMs = performance.now();
    if (views.every((view) => isSeen(view, isDown))) return nowMs;
    if (nowMs > deadlineMs) {
      const said = others.map(({ name }, i) => `${name}: ${toldBy(views[i])}`);
      throw new Error(
        `not all agents see that ${VICTIM.name} is ${isDown ? "down" : "up"}: ${said.join(", ")}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function isSeen(view: MembersAnswer | undefined, isDown: boolean): boolean {
  const member = view?.members.find(({ name }) => name === VICTIM.name);
  if (member === undefined) return false;
  return isDown ? member.isDown : member.status === "alive" && !member.isDown;
}

function toldBy(view: MembersAnswer | undefined): string {
  const member = view?.members.find(({ name }) => name === VICTIM.name);
  return member === undefined
    ? "does not know it"
    : `${member.status}, ${member.isDown ? "down" : "up"}`;
}

/** Straight to the service with two endpoints, of which one is left. */
async function ratings(context: CheckContext): Promise<string> {
  const to = { host: "ratings", port: HTTP_PORT };
  const job = requests(to, "/ratings/0", { times: TIMES, isFresh: true, timeoutMs: 2_000 });
  const { outcomes } = await measure(context, hostOf("visitor"), UID.visitor, job);
  holds(
    isOnly(outcomes, "200", TIMES),
    () => `with it away ${TIMES} requests gave ${shown(outcomes)}`,
  );
  return `${TIMES} of ${TIMES} requests answered`;
}
