// Explanations as people read them.
import { expect, test } from "bun:test";
import type { DecisionAnswer } from "../agent/api/decisions.ts";
import type { AuthorizationRule } from "../agent/policy/authorization-rules.ts";
import { explainDecision } from "../agent/policy/explain-decision.ts";
import { serverWorkload, snapshot } from "../test/support/mesh-fixture.ts";
import { decisionText, type ExplainColours } from "./explain-text.ts";

const plain = (text: string): string => text;
const COLOURS: ExplainColours = {
  red: plain,
  green: plain,
  yellow: plain,
  dim: plain,
  bold: plain,
};
const rule = (principal: string): AuthorizationRule => ({
  from: [{ principals: [principal] }],
  to: [],
  when: [],
});
const workload = (...rules: AuthorizationRule[]) =>
  serverWorkload({ authorization: { deny: [], allow: [{ policy: "default/p", rules }] } });

const RECORD: DecisionAnswer["record"] = {
  id: "3h7k2q-0a1b2-c",
  cause: "authorization",
  by: "default/p",
  firstAtMs: 0,
  lastAtMs: 50_000,
  times: 3,
  epoch: 1,
  version: 1,
  from: { identity: "spiffe://mesh/ns/default/sa/client", address: "10.0.0.1" },
  to: { workload: "default/server", address: "10.0.0.2", port: 8080 },
  request: { method: "GET", path: "/a\u001b[31m", host: "server", headers: [], notKept: [] },
};
const HEAD =
  "decision 3h7k2q-0a1b2-c of host north, 3 times, first 60s ago, last 10s ago, by version 1.1";
const DENIED = `DENIED  spiffe://mesh/ns/default/sa/client -> default/server port 8080: GET /a [31m (server)
AuthorizationPolicy default/p does not allow it: no rule matches

  PeerAuthentication (none: the default) PERMISSIVE: passes
  AuthorizationPolicy default/p ALLOW: does not match
    spec.rules[0].from[0].source.principals: has mesh/ns/default/sa/other; asked mesh/ns/default/sa/client`;
const ADMIT = `
to admit it:
  in AuthorizationPolicy default/p, at spec.rules[0].from[0].source.principals, add
    - mesh/ns/default/sa/client
    this admits the caller, to all that spec.rules[0] allows`;

const textOf = (version: number, ...rules: AuthorizationRule[]): Promise<string> => {
  const then = workload(rule("mesh/ns/default/sa/other"));
  const now = snapshot("north", { version, workloads: [workload(...rules)] });
  const answer = explainDecision({ record: RECORD, workload: then }, now);
  return decisionText(answer, 60_000, COLOURS);
};

test("a decision that still holds is told with the line that would admit it", async () => {
  expect(await textOf(1)).toBe(`${HEAD}\n\n${DENIED}\n${ADMIT}`);
});

test("one that does not hold any more says by which rule it would pass now", async () => {
  const now =
    "ALLOWED by the policies that hold now: AuthorizationPolicy default/p allows it: spec.rules[0] matches";
  expect(await textOf(2, rule("*/sa/client"))).toBe(`${HEAD}\n\n${DENIED}\n\n${now}`);
});

test("where other policies refuse it now, the line is theirs", async () => {
  const text = await textOf(2, rule("x"), rule("y"));
  expect(text.match(/to admit it:/g)).toHaveLength(1);
  expect(text.slice(0, `${HEAD}\n\n${DENIED}`.length)).toBe(`${HEAD}\n\n${DENIED}`);
  expect(text).toContain("by the policies that hold now:\nDENIED");
  expect(text).toContain("    spec.rules[1].from[0].source.principals: has y;");
});

test("a refusal that no policy made says what happened and what to do", async () => {
  const { request: _, ...connection } = RECORD;
  const record = { ...connection, cause: "connection", by: "not_declared", times: 1 } as const;
  const answer = explainDecision({ record, workload: undefined }, snapshot("north"));
  expect((await decisionText(answer, 60_000, COLOURS)).split("\n")).toEqual([
    "decision 3h7k2q-0a1b2-c of host north, 60s ago, by version 1.1",
    "",
    "DENIED  spiffe://mesh/ns/default/sa/client -> default/server port 8080: a connection",
    "no Workload of the host declares that port",
    "",
    "declare it in the Workload's `services`; `meshctl get workloads` shows what there is",
  ]);
});
