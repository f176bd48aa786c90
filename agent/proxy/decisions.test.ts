// From a refusal to its explanation: the id that a client or a log is told leads to what decided.
import { describe, expect, test } from "bun:test";
import { answering, app, ask, ok, settle } from "../../test/support/http-conversation.ts";
import {
  CLIENT_ID,
  type Host,
  MeshFixture,
  SERVER_NAME,
  serverWorkload,
  service,
  snapshot,
  VIP,
  workload,
} from "../../test/support/mesh-fixture.ts";
import { TextEnd } from "../../test/support/text-stream.ts";
import type { DecisionAnswer } from "../api/decisions.ts";
import type { Authorization } from "../policy/authorization-rules.ts";
import { explainDecision } from "../policy/explain-decision.ts";
import type { LocalWorkload } from "../policy/snapshot.ts";

const ONLY_OTHER: Authorization = {
  deny: [],
  allow: [
    {
      policy: "default/only-other",
      rules: [{ from: [{ principals: ["mesh/ns/default/sa/other"] }], to: [], when: [] }],
    },
  ],
};

function serving(changes: Partial<LocalWorkload>): MeshFixture {
  const mesh = new MeshFixture({ accessLog: "errors" });
  mesh.swapServer({ workloads: [serverWorkload(changes)] });
  app(
    mesh,
    answering(() => ok()),
  );
  return mesh;
}

const strictPorts = serverWorkload().ports.map((port) => ({ ...port, mtls: "strict" as const }));
const tcpPorts = serverWorkload().ports.map((port) => ({ ...port, protocol: "tcp" as const }));

/** What the host that refused says of it, by the policies that it runs now. */
function explained(host: Host, id: string, changes: Partial<LocalWorkload>): DecisionAnswer {
  const found = host.decisions.find(id);
  if (found === undefined) throw new Error(`${id} is not in the book`);
  return explainDecision(found, snapshot("10.0.0.2", { workloads: [serverWorkload(changes)] }));
}

const idIn = (answer: string): string =>
  /x-ironmesh-decision: (\S+)\r\n/.exec(answer)?.[1] ?? "none";

describe("a refused request", () => {
  test("is told its decision, in a field, in words and in the log, and explained by the policy that refused", () => {
    const mesh = serving({ authorization: ONLY_OTHER });
    const answer = ask(mesh, "GET /a?b=c HTTP/1.1\r\nhost: server\r\n\r\n");
    const id = idIn(answer);
    expect(answer).toStartWith("HTTP/1.1 403 ");
    expect(answer).toContain(`; why: meshctl explain ${id}\n`);
    expect(mesh.server.records().at(-1)).toMatchObject({ response_code: 403, decision_id: id });
    expect(mesh.server.refusals).toEqual([expect.objectContaining({ decision: id, path: "/a" })]);
    const { record, explanation } = explained(mesh.server, id, { authorization: ONLY_OTHER });
    expect(record).toMatchObject({
      cause: "authorization",
      by: "default/only-other",
      from: { identity: CLIENT_ID },
      to: { workload: "default/server", service: "server.default.mesh", port: 8080 },
    });
    expect(explanation).toMatchObject({
      verdict: "denied",
      asked: { request: { method: "GET", path: "/a", host: "server" } },
      admit: [{ path: "spec.rules[0].from[0].source.principals", value: CLIENT_ID.slice(9) }],
    });
    const again = ask(mesh, "GET /a HTTP/1.1\r\nhost: server\r\n\r\n");
    expect(idIn(again)).toBe(id);
  });

  test("is explained by the policies of its moment, and by those that hold now", () => {
    const mesh = serving({ authorization: ONLY_OTHER });
    const id = idIn(ask(mesh));
    const open = snapshot("10.0.0.2", { version: 2, workloads: [serverWorkload()] });
    mesh.server.plane.swap(open);
    const found = mesh.server.decisions.find(id);
    if (found === undefined) throw new Error("gone");
    const { explanation, now } = explainDecision(found, open);
    expect(explanation?.reason).toContain("default/only-other does not allow it");
    expect(now).toMatchObject({ verdict: "allowed" });
  });

  test("beyond a limit is explained by the limit", () => {
    const limits = {
      rateLimits: [
        {
          name: "default/server:all",
          to: [],
          byIdentity: true,
          byHeader: undefined,
          requests: 1,
          perMs: 10_000,
          burst: 1,
          slot: 200,
        },
      ],
    };
    const mesh = serving(limits);
    ask(mesh);
    const answer = ask(mesh);
    expect(answer).toStartWith("HTTP/1.1 429 ");
    const { record, explanation } = explained(mesh.server, idIn(answer), limits);
    expect(record).toMatchObject({ cause: "rate_limit", by: "default/server:all" });
    expect(explanation?.reason).toBe(
      "RateLimit default/server had no room left: spec.limits[0] takes 1 requests in 10000 ms, 1 at once for each identity",
    );
    expect(explanation?.steps.at(-1)).toMatchObject({ kind: "RateLimit", outcome: "refuses" });
  });

  test("that passes leaves nothing in the book, and no field in the answer", () => {
    const mesh = serving({});
    expect(idIn(ask(mesh))).toBe("none");
    expect(mesh.server.refusals).toEqual([]);
    expect(mesh.server.decisions.find(`${"0".repeat(6)}-00001-1`)).toBeUndefined();
  });
});

describe("a refused connection", () => {
  test("of opaque TCP has its decision in the access log, and a policy that came later cuts with one too", () => {
    const mesh = serving({ ports: tcpPorts });
    mesh.swapClient({
      services: [service({ ports: service().ports.map((p) => ({ ...p, protocol: "tcp" })) })],
    });
    const dial = () => {
      const end = new TextEnd();
      end.attach(mesh.client.dialOut({ address: VIP, port: 80 }, end));
      end.send("x");
      settle(mesh);
      return end;
    };
    const early = dial();
    expect(early.closed).toBeUndefined();
    const changes = { ports: tcpPorts, authorization: ONLY_OTHER };
    mesh.swapServer({ workloads: [serverWorkload(changes)] });
    settle(mesh);
    expect(early.closed?.is).toBe("failed");
    expect(dial().closed?.is).toBe("failed");
    const ids = mesh.server.records().map((one) => String(one["decision_id"]));
    expect(ids).toHaveLength(2);
    expect(ids[0]).toBe(ids[1] ?? "");
    const { explanation } = explained(mesh.server, ids[0] ?? "", changes);
    expect(explanation).toMatchObject({ verdict: "denied" });
    expect(explanation?.asked.request).toBeUndefined();
  });

  test("in plaintext, where mTLS is wanted, names the PeerAuthentication", () => {
    const mesh = serving({ ports: strictPorts });
    const end = new TextEnd();
    end.attach(
      mesh.server.arrive(end, { address: "10.9.9.9", to: { address: "10.0.0.2", port: 8080 } }),
    );
    settle(mesh);
    const [line] = mesh.server.refusals;
    const { record, explanation } = explained(mesh.server, String(line?.["decision"]), {
      ports: strictPorts,
    });
    expect(record).toMatchObject({ cause: "peer_authentication", from: { address: "10.9.9.9" } });
    expect(explanation?.steps[0]).toMatchObject({ says: "STRICT", outcome: "refuses" });
  });

  test("to a port that nobody declared, or a listener of the agent's, says so and what to do", () => {
    const mesh = serving({});
    for (const port of [9999, 15006]) {
      const end = new TextEnd();
      end.attach(
        mesh.server.arrive(end, { address: "10.9.9.9", to: { address: "10.0.0.2", port } }),
      );
      settle(mesh);
    }
    const answers = mesh.server.refusals.map((line) =>
      explained(mesh.server, String(line["decision"]), {}),
    );
    expect(answers.map(({ record }) => record.by)).toEqual(["not_declared", "listener_dialled"]);
    expect(answers.map(({ explanation }) => explanation)).toEqual([undefined, undefined]);
    expect(answers[0]?.next).toContain("declare it");
  });

  test("at the handshake says whose port was meant, and repeats no text of a stranger's that is no name", () => {
    const mesh = serving({});
    const { plane, refusals } = mesh.server;
    plane.handshakeRefused("expired", "10.9.9.9", SERVER_NAME);
    plane.handshakeRefused("unknown_server_name", "10.9.9.9", "1.a.b.c.ironmesh");
    plane.handshakeRefused("unknown_server_name", "10.9.9.9", "\u001b[31mred");
    expect(refusals.map(({ workload, to, by }) => [workload, to, by])).toEqual([
      ["default/server", "10.0.0.2", "expired"],
      [undefined, "1.a.b.c.ironmesh", "unknown_server_name"],
      [undefined, "", "unknown_server_name"],
    ]);
    const { reason, next } = explained(mesh.server, String(refusals[0]?.["decision"]), {});
    expect(reason).toContain("has expired");
    expect(next).toContain("meshctl renew");
  });

  test("of a local process to what is outside, under registry_only, has one too", () => {
    const mesh = new MeshFixture();
    mesh.swapClient({ outboundPolicy: "registry_only", workloads: [workload("client")] });
    const end = new TextEnd();
    end.attach(mesh.client.dialOut({ address: "9.9.9.9", port: 80 }, end));
    end.send("GET / HTTP/1.1\r\nhost: example.com\r\n\r\n");
    settle(mesh);
    expect(end.text).toStartWith("HTTP/1.1 502 ");
    const { reason, record } = explained(mesh.client, idIn(end.text), {});
    expect(record).toMatchObject({ by: "registry_only", request: { host: "example.com" } });
    expect(reason).toContain("registry_only");
  });
});
