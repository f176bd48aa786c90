import { expect, test } from "bun:test";
import { serverWorkload, snapshot } from "../../test/support/mesh-fixture.ts";
import { DECISION_ANSWER_CHARS_MAX, type DecisionRecord } from "../api/decisions.ts";
import type { AuthorizationRule } from "./authorization-rules.ts";
import { explainDecision } from "./explain-decision.ts";

const record = (changes: Partial<DecisionRecord> = {}): DecisionRecord => ({
  id: "3h7k2q-0a1b2-c",
  cause: "authorization",
  by: "default/p",
  firstAtMs: 1,
  lastAtMs: 1,
  times: 1,
  epoch: 1,
  version: 1,
  from: { identity: "spiffe://mesh/ns/default/sa/client", address: "10.0.0.1" },
  to: { workload: "default/server", address: "10.0.0.2", port: 8080 },
  request: { method: "GET", path: "/a", host: "server", headers: [], notKept: [] },
  ...changes,
});

const withRules = (...rules: AuthorizationRule[]) =>
  serverWorkload({ authorization: { deny: [], allow: [{ policy: "default/p", rules }] } });

test("policies that are not kept any more are said to be gone, and what holds now is explained", () => {
  const now = snapshot("north", { version: 9, workloads: [withRules()] });
  const answer = explainDecision({ record: record(), workload: undefined }, now);
  expect(answer.reason).toContain("the policies of that moment are not kept any more");
  expect(answer.next).toContain("meshctl config policies");
  expect(answer.now).toMatchObject({ verdict: "denied" });
});

test("a refusal that hung on a secret is a refusal, though what it hung on is not known", () => {
  const when = [{ key: { is: "header", name: "x-token" } as const, notValues: ["stolen"] }];
  const workload = withRules({ from: [], to: [], when });
  const request = { method: "GET", path: "/a", host: "s", headers: [], notKept: ["x-token"] };
  const answer = explainDecision(
    { record: record({ request }), workload },
    snapshot("north", { workloads: [workload] }),
  );
  expect(answer.explanation?.verdict).toBe("denied");
  expect(answer.explanation?.steps[1]).toMatchObject({ outcome: "unknown" });
  expect(answer.now).toBeUndefined();
});

test("policies of any size make an answer of bounded size", () => {
  const principals = Array.from({ length: 8 }, (_, i) => `${i}${"p".repeat(500)}`);
  const from = Array.from({ length: 8 }, () => ({ principals }));
  const workload = serverWorkload({
    authorization: {
      deny: [],
      allow: Array.from({ length: 100 }, (_, i) => ({
        policy: `default/p${i}`,
        rules: Array.from({ length: 100 }, () => ({ from, to: [], when: [] })),
      })),
    },
  });
  const answer = explainDecision(
    { record: record(), workload },
    snapshot("north", { workloads: [workload] }),
  );
  expect(JSON.stringify(answer).length).toBeLessThan(DECISION_ANSWER_CHARS_MAX);
  expect(answer.explanation?.steps).toHaveLength(65);
  expect(answer.explanation?.notes).toContain("36 further policies are not shown");
});
