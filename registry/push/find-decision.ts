// From a decision's id to its host, and the host's own answer.
import { type DecisionAnswer, hostTag, tagOf } from "../../agent/api/decisions.ts";
import type { MeshSettings } from "../../agent/api/session.ts";
import { err, ok, type Result } from "../../agent/base/result.ts";
import { explainDecision } from "../../agent/policy/explain-decision.ts";
import type { LocalWorkload } from "../../agent/policy/snapshot.ts";
import { meshDirectory } from "./explain-mesh.ts";
import type { Hub } from "./hub.ts";
import type { Publication } from "./units.ts";

export interface NotFound {
  readonly code: "invalid_id" | "unknown_decision" | "host_away";
  readonly message: string;
  readonly next: string;
}

export interface FindDeps {
  readonly hub: Hub;
  readonly mesh: MeshSettings;
}

export async function findDecision(
  { hub, mesh }: FindDeps,
  id: string,
): Promise<Result<DecisionAnswer, NotFound>> {
  const tag = tagOf(id);
  if (tag === undefined) return err(NO_ID);
  const hosts = (hub.latest?.hosts ?? []).filter(({ name }) => hostTag(name) === tag);
  if (hosts.length === 0) return err(NOBODY);
  const told = await Promise.all(hosts.map(async ({ name }) => askHost(hub, name, id)));
  const found = told.find((one) => one.ok);
  if (found?.ok === true) return ok(byOwnPolicies(found.value, hub.latest, mesh));
  return told[0] ?? err(NOBODY);
}

/** Who was refused what is the host's word; what policies say of it, and above all the edit that an operator may paste, is worked out here.
 *  Of policies that hold no more only the host knows: their explanation is its word, and offers nothing. */
function byOwnPolicies(
  told: DecisionAnswer,
  latest: Publication | undefined,
  mesh: MeshSettings,
): DecisionAnswer {
  const { record, host, explanation } = told;
  const then = explanation && { ...explanation, admit: [], notes: [] };
  const bare = { ...told, ...(then === undefined ? {} : { explanation: then }), now: undefined };
  if (latest === undefined) return bare;
  const found = compiledOn(host, record.to.workload, latest, mesh);
  if (found === undefined && record.cause !== "connection") return bare;
  const { epoch, version } = latest.position;
  const isSame = record.epoch === epoch && record.version === version;
  const own = explainDecision(
    { record, workload: isSame ? found : undefined },
    { epoch, version, host: { name: host }, workloads: found === undefined ? [] : [found] },
  );
  if (own.explanation !== undefined || then === undefined) return own;
  return { ...own, explanation: then, reason: then.reason, next: undefined };
}

function compiledOn(
  host: string,
  title: string | undefined,
  latest: Publication,
  mesh: MeshSettings,
): LocalWorkload | undefined {
  const [namespace = "", name = ""] = title?.split("/") ?? [];
  const known = latest.facts.workload(namespace, name);
  if (known?.hosts.has(host) !== true) return undefined;
  return meshDirectory(latest, mesh).compiled(host, { ...known, hosts: [host] })?.workload;
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
  if (found.ok && found.value.record.id === id) return ok({ ...found.value, host });
  return err({
    code: "unknown_decision",
    message: `host ${host} made that decision and cannot explain it`,
    next: found.ok ? "its agent answered for another decision: report it" : found.error,
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
