// From an operator's question to the host that made the decision and back, over real sessions.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type DecisionAnswer, hostTag, SPEAKS_DECISIONS } from "../../agent/api/decisions.ts";
import { SILENT_LOG } from "../../agent/base/log.ts";
import { DecisionBook } from "../../agent/observe/decision-book.ts";
import type { Authorization } from "../../agent/policy/authorization-rules.ts";
import { explainDecision } from "../../agent/policy/explain-decision.ts";
import { ask } from "../../test/support/config-server-client.ts";
import { serverWorkload, snapshot } from "../../test/support/mesh-fixture.ts";
import { ReportingMesh } from "../../test/support/reporting-mesh.ts";
import type { Position } from "../store/store.ts";

let mesh: ReportingMesh;
const decision = (id: string) => mesh.ask<DecisionAnswer>("GET", `/v1/decisions/${id}`);
const idOf = (host: string): string => `${hostTag(host)}-0a1b2-c`;

const NOBODY: Authorization = { deny: [], allow: [{ policy: "default/told", rules: [] }] };

/** As the agent of `web`'s host would answer that ran these policies. */
function answerOf(host: string, position: Position, authorization = NOBODY): DecisionAnswer {
  const workload = serverWorkload({ name: "web", authorization });
  const book = new DecisionBook({ nonce: 1, hashSeed: 1 }, { wallMs: () => 1, log: SILENT_LOG });
  book.follow(host, position);
  const id = book.note({
    cause: "authorization",
    by: "default/told",
    caller: { identity: "spiffe://mesh.test/ns/default/sa/client", address: "10.0.0.1" },
    workload,
    service: "web.default.mesh",
    destination: { address: "10.0.0.1", port: 20_000 },
    request: {
      method: "GET",
      path: "/a",
      authority: "web",
      scheme: "http",
      header: () => undefined,
    },
  });
  const found = book.find(id);
  if (found === undefined) throw new Error("gone");
  const record = { ...found.record, id: idOf(host) };
  return explainDecision(
    { record, workload: { ...workload, ports: webPorts } },
    snapshot(host, { ...position, workloads: [] }),
  );
}
const webPorts = serverWorkload().ports.map((port) => ({ ...port, appPort: 20_000 }));

/** Asks the server, and answers in the host's place. */
async function told(answer: DecisionAnswer) {
  const asked = decision(idOf("vm1"));
  const { turn } = await mesh.question("vm1");
  mesh.agent("vm1").say({ type: "decision", turn, answer });
  return (await asked).body;
}

const position = async (): Promise<Position> => {
  const { epoch, version } = (await mesh.ask<Position>("GET", "/v1/status")).body;
  return { epoch, version };
};

beforeAll(async () => {
  mesh = await ReportingMesh.start();
  await mesh.declare("vm1", "web");
  await mesh.declare("vm2", "shop");
  await mesh.apply([
    {
      apiVersion: "security.istio.io/v1",
      kind: "AuthorizationPolicy",
      metadata: { name: "real", namespace: "default" },
      spec: {},
    },
  ]);
  await mesh.joinAs("vm1", "10.0.0.1", { speaks: [SPEAKS_DECISIONS] }, "web");
  await mesh.join("vm2", "10.0.0.2", "shop");
});
afterAll(() => mesh.close());

test("the host that made it is asked, under its certified name, and what policies say of it is the server's own word", async () => {
  const answer = answerOf("vm1", await position());
  expect(answer.explanation?.admit).toHaveLength(1);
  const body = await told({ ...answer, host: "somebody-else" });
  expect(body).toMatchObject({ host: "vm1", record: { by: "default/told" } });
  expect(body.explanation?.steps.map(({ name }) => name)).toEqual([undefined, "default/real"]);
  expect(body.explanation?.admit).toMatchObject([{ name: "default/real" }]);
  expect(JSON.stringify(body.explanation)).not.toContain("default/told");
});

test("of an older version the host explains what held, and offers no edit; the server says what holds now", async () => {
  const { epoch, version } = await position();
  const body = await told(answerOf("vm1", { epoch, version: version - 1 }));
  expect(body.explanation).toMatchObject({ verdict: "denied", admit: [] });
  expect(body.explanation?.steps.at(-1)?.name).toBe("default/told");
  expect(body.now).toMatchObject({ verdict: "denied", admit: [{ name: "default/real" }] });
});

test("of a workload that is not its own a host is told to offer nothing", async () => {
  const answer = answerOf("vm1", await position());
  const { to } = answer.record;
  const record = { ...answer.record, to: { ...to, workload: "default/shop" } };
  const body = await told({ ...answer, record });
  expect(body.explanation?.admit).toEqual([]);
  expect(body.now).toBeUndefined();
});

test("an answer for another decision is none", async () => {
  const answer = answerOf("vm1", await position());
  const asked = decision(idOf("vm1"));
  const { turn } = await mesh.question("vm1");
  const record = { ...answer.record, id: `${answer.record.id}d` };
  mesh.agent("vm1").say({ type: "decision", turn, answer: { ...answer, record } });
  expect((await asked).body.error.next).toContain("for another decision");
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
  mesh.agent("vm1").say({
    type: "decision",
    turn,
    answer: { ...answerOf("vm1", { epoch: 1, version: 1 }), extra: 1 },
  });
  expect((await asked).body.error.next).toContain("session ended meanwhile");
  expect((await decision(idOf("vm1"))).body.error).toMatchObject({
    code: "host_away",
    next: expect.stringContaining("ask on the host itself"),
  });
});
