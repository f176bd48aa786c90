// Why a call is refused, or would be, for operators.
import { Hono } from "hono";
import * as z from "zod";
import type { DecisionAnswer } from "../../agent/api/decisions.ts";
import type { ExplainAnswer, ExplainRefusal } from "../../agent/api/explain.ts";
import { answerQuestion } from "../../agent/policy/answer-question.ts";
import { meshDirectory } from "../push/explain-mesh.ts";
import { findDecision } from "../push/find-decision.ts";
import type { Hub } from "../push/hub.ts";
import type { Mesh } from "../push/mesh.ts";
import { BODY_BYTES_MAX, bounded, readBody, refuse } from "./answers.ts";
import type { Bindings } from "./peer.ts";

export interface ExplainDeps {
  readonly hub: Hub;
  readonly mesh: Mesh;
}

const name = z.string().min(1).max(1_024);
const question = z.strictObject({
  from: name,
  to: name,
  port: z.int().min(1).max(65_535).optional(),
  method: z.string().max(128).optional(),
  path: z.string().max(8_192).optional(),
  host: z.string().max(1_024).optional(),
  headers: z
    .array(z.tuple([z.string().max(256), z.string().max(8_192)]))
    .max(100)
    .optional(),
  address: z.string().max(64).optional(),
  serverName: z.string().max(255).optional(),
  isTcp: z.boolean().optional(),
});

const STATUS = {
  unknown_name: 404,
  ambiguous_name: 409,
  no_such_port: 404,
  not_here: 404,
  invalid_question: 400,
} as const satisfies Record<ExplainRefusal["code"], number>;

export function explainRoutes({ hub, mesh }: ExplainDeps) {
  return new Hono<{ Bindings: Bindings }>()
    .get("/v1/decisions/:id", async (c) => {
      const found = await findDecision({ hub, mesh: mesh.settings }, c.req.param("id"));
      if (found.ok) return c.json(found.value satisfies DecisionAnswer);
      const { code, message, next } = found.error;
      return refuse(c, code === "invalid_id" ? 400 : 404, code, message, { next });
    })
    .post("/v1/explain", bounded(BODY_BYTES_MAX), async (c) => {
      const body = await readBody(c, question);
      if (!body.ok) return body.error;
      const { latest } = hub;
      if (latest === undefined)
        return refuse(c, 503, "no_version", "nothing is published yet", { next: "ask again" });
      const answer = answerQuestion(meshDirectory(latest, mesh.settings), body.value);
      if (answer.ok) return c.json(answer.value satisfies ExplainAnswer);
      const { code, message, next } = answer.error;
      return refuse(c, STATUS[code], code, message, { next });
    });
}
