// From an operator's question to the host that made the decision and back, over real sessions.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type DecisionAnswer, hostTag, SPEAKS_DECISIONS } from "../../agent/api/decisions.ts";
import { SILENT_LOG } from "../../agent/base/log.ts";
import { DecisionBook } from "../../agent/observe/decision-book.ts";
import { explainDecision } from "../../agent/policy/explain-decision.ts";
import { ask } from "../../test/support/config-server-client.ts";
import { serverWorkload, snapshot } from "../../test/support/mesh-fixture.ts";
import { ReportingMesh } from "../../test/support/reporting-mesh.ts";

let mesh: ReportingMesh;
const decision = (id: string) => mesh.ask<DecisionAnswer>("GET", `/v1/decisions/${id}`);
const idOf = (host: string): string => `${hostTag(host)}-0a1b2-c`;

/** A real answer, with all that it may hold. */
function answerOf(host: string): DecisionAnswer {
  const workload = serverWorkload({
    authorization: {
      deny: [{ policy: "default/d", rules: [{ from: [{ namespaces: ["x"] }], to: [], when: [] }] }],
      allow: [{ policy: "default/a", rules: [{ from: [], to: [{ methods: ["PUT"] }], when: [] }] }],
    },
  });
  const book = new DecisionBook({ nonce: 1, hashSeed: 1 }, { wallMs: () => 1, log: SILENT_LOG });
  book.follow(host, { epoch: 1, version: 1 });
  const id = book.note({
    cause: "authorization",
    by: "default/a",
    caller: { identity: "spiffe://mesh/ns/default/sa/client", address: "10.0.0.1" },
    workload,
    service: "server.default.mesh",
    destination: { address: "10.0.0.2", port: 8080 },
    request: {
      method: "GET",
      path: "/a",
      authority: "server",
      scheme: "http",
      header: () => undefined,
    },
  });
  const found = book.find(id);
  if (found === undefined) throw new Error("gone");
  return explainDecision(found, snapshot(host, { version: 2, workloads: [workload] }));
}

beforeAll(async () => {
  mesh = await ReportingMesh.start();
  await mesh.joinAs("vm1", "10.0.0.1", { speaks: [SPEAKS_DECISIONS] }, "web");
  await mesh.join("vm2", "10.0.0.2", "shop");
});
afterAll(() => mesh.close());

test("the host that made it is asked, and its answer comes back whole, under its certified name", async () => {
  const asked = decision(idOf("vm1"));
  const question = await mesh.question("vm1");
  expect(question.id).toBe(idOf("vm1"));
  const answer = answerOf("vm1");
  mesh.agent("vm1").say({
    type: "decision",
    turn: question.turn,
    answer: { ...answer, host: "somebody-else" },
  });
  const { status, body } = await asked;
  expect(status).toBe(200);
  expect(body).toEqual(JSON.parse(JSON.stringify(answer)));
});

test("a decision that is gone is told in the host's words", async () => {
  const asked = decision(idOf("vm1"));
  const { turn } = await mesh.question("vm1");
  mesh.agent("vm1").say({ type: "decision", turn, error: "gone: ask anew" });
  expect(await asked).toMatchObject({
    status: 404,
    body: { error: { code: "unknown_decision", next: "gone: ask anew" } },
  });
});

test("no id, nobody's id, and a host that cannot be asked say what to do", async () => {
  expect((await decision("nonsense")).body.error.code).toBe("invalid_id");
  expect((await decision("000000-0a1b2-c")).body.error.message).toContain("no host of this mesh");
  expect((await decision(idOf("vm2"))).body.error.next).toContain("upgrade it");
});

test("only operators may ask", async () => {
  const path = `/v1/decisions/${idOf("vm1")}`;
  expect((await ask(mesh.registry, "GET", path)).status).toBe(401);
  expect((await ask(mesh.registry, "GET", path, undefined, { operator: "x" })).status).toBe(401);
});

test("an answer of another form ends the session, and the question with it; then the host is away", async () => {
  const asked = decision(idOf("vm1"));
  const { turn } = await mesh.question("vm1");
  mesh.agent("vm1").say({ type: "decision", turn, answer: { ...answerOf("vm1"), extra: 1 } });
  expect((await asked).body.error.next).toContain("session ended meanwhile");
  expect((await decision(idOf("vm1"))).body.error).toMatchObject({
    code: "host_away",
    next: expect.stringContaining("ask on the host itself"),
  });
});
