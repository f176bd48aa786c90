// From a decision's id to its host, and the host's own answer.
import { type DecisionAnswer, hostTag, tagOf } from "../../agent/api/decisions.ts";
import { err, ok, type Result } from "../../agent/base/result.ts";
import type { Hub } from "./hub.ts";

export interface NotFound {
  readonly code: "invalid_id" | "unknown_decision" | "host_away";
  readonly message: string;
  readonly next: string;
}

export async function findDecision(
  hub: Hub,
  id: string,
): Promise<Result<DecisionAnswer, NotFound>> {
  const tag = tagOf(id);
  if (tag === undefined) return err(NO_ID);
  const hosts = (hub.latest?.hosts ?? []).filter(({ name }) => hostTag(name) === tag);
  if (hosts.length === 0) return err(NOBODY);
  const told = await Promise.all(hosts.map(async ({ name }) => askHost(hub, name, id)));
  const found = told.find((one) => one.ok);
  return found ?? told[0] ?? err(NOBODY);
}

async function askHost(
  hub: Hub,
  host: string,
  id: string,
): Promise<Result<DecisionAnswer, NotFound>> {
  const asked = hub.explain(host, id);
  if (asked === undefined) return err(away(host));
  if (asked === "too_old") return err(tooOld(host));
  const found = await asked;
  // Who answers is who the session's certificate names, whatever it says itself.
  if (found.ok) return ok({ ...found.value, host });
  return err({
    code: "unknown_decision",
    message: `host ${host} made that decision and cannot explain it`,
    next: found.error,
  });
}

const NO_ID: NotFound = {
  code: "invalid_id",
  message: "that is no decision id",
  next: "it stands in the answer's x-ironmesh-decision, and in the agent's log: 3h7k2q-0a1b2-c",
};

const NOBODY: NotFound = {
  code: "unknown_decision",
  message: "no host of this mesh has made that decision",
  next: "is it of another mesh? `meshctl login` and --context choose the server",
};

const away = (host: string): NotFound => ({
  code: "host_away",
  message: `host ${host} made that decision, and its agent is not connected`,
  next: `ask on the host itself: \`meshctl explain ID --agent\`; \`meshctl status\` shows since when it is away`,
});

const tooOld = (host: string): NotFound => ({
  code: "host_away",
  message: `host ${host} made that decision, and its agent is too old to be asked`,
  next: "upgrade it (`meshctl upgrade` there)",
});
