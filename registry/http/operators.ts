// What operators ask: every route here needs an operator's token.
import { Hono } from "hono";
import { createMiddleware } from "hono/factory";
import * as z from "zod";
import { type MemberReport, type MembersAnswer, SERVER_MEMBER } from "../../agent/api/gossip.ts";
import {
  type ApplyResponse,
  type DeleteResponse,
  type ExpelResponse,
  type HostStatus,
  type ListResponse,
  type LoginResponse,
  type MeshStatus,
  OPERATOR_BODY_BYTES_MAX,
  type TokenResponse,
  type ValidateResponse,
} from "../../agent/api/operator-api.ts";
import type { Issuer } from "../ca/issuer.ts";
import { makeJoinToken, TOKEN_TTL_DEFAULT_MS } from "../ca/join-tokens.ts";
import type { Mesh, Refusal } from "../push/mesh.ts";
import type { Store } from "../store/store.ts";
import { BODY_BYTES_MAX, bounded, readBody, refuse } from "./answers.ts";
import { explainRoutes } from "./explain.ts";
import { type GraphDeps, graphRoutes } from "./graph.ts";
import { operatorOf } from "./operator-token.ts";
import type { Bindings } from "./peer.ts";

export const AUDIT_ANSWER_MAX = 1_000;

export interface OperatorRoutesDeps extends GraphDeps {
  readonly store: Store;
  readonly mesh: Mesh;
  readonly issuer: Issuer;
  /** https URLs that tokens carry. */
  servers(): readonly string[];
  /** The gossip pool as this server sees it. */
  members(): readonly MemberReport[];
}

type Env = { Bindings: Bindings; Variables: { operator: string } };

const applyBody = z.strictObject({ documents: z.array(z.unknown()) });
const tokenBody = z.strictObject({
  host: z.string(),
  serviceAccounts: z.array(z.string()),
  ttlSeconds: z.number().default(TOKEN_TTL_DEFAULT_MS / 1000),
  address: z.string().optional(),
});

export function operatorRoutes(deps: OperatorRoutesDeps) {
  return new Hono<Env>()
    .use("/v1/*", onlyOperators(deps.store))
    .route("/", resourceRoutes(deps))
    .route("/", meshRoutes(deps))
    .route("/", graphRoutes(deps))
    .route("/", explainRoutes(deps));
}

const onlyOperators = (store: Store) =>
  createMiddleware<Env>(async (c, next) => {
    const [, secret] =
      /^Bearer ([A-Za-z0-9_-]{1,256})$/.exec(c.req.header("authorization") ?? "") ?? [];
    const operator = await operatorOf(store, secret);
    if (operator === undefined) {
      return refuse(c, 401, "unauthorized", "this needs an operator's token", {
        next: "run `meshctl login`; the first token lies in the server's state directory, in operator-token",
      });
    }
    c.set("operator", operator.name);
    return next();
  });

function resourceRoutes({ store, mesh }: OperatorRoutesDeps) {
  return new Hono<Env>()
    .post("/v1/apply", bounded(OPERATOR_BODY_BYTES_MAX), async (c) => {
      const body = await readBody(c, applyBody);
      if (!body.ok) return body.error;
      const { documents } = body.value;
      const isDryRun = c.req.query("dryRun") === "1";
      const applied = await mesh.apply({ documents, who: c.get("operator"), isDryRun });
      if (!applied.ok)
        return refuse(c, ...wordsOf(applied.error), { problems: applied.error.problems });
      return c.json(applied.value satisfies ApplyResponse);
    })
    .post("/v1/validate", bounded(OPERATOR_BODY_BYTES_MAX), async (c) => {
      const body = await readBody(c, applyBody);
      if (!body.ok) return body.error;
      const problems = await mesh.validate(body.value.documents);
      return c.json({ problems } satisfies ValidateResponse);
    })
    .get("/v1/resources", async (c) => {
      const { kind, namespace, name } = c.req.query();
      const { version, resources } = await store.state();
      const chosen = resources
        .map(({ document }) => document)
        .filter(
          (document) =>
            (kind === undefined || document.kind === kind) &&
            (namespace === undefined || document.metadata.namespace === namespace) &&
            (name === undefined || document.metadata.name === name),
        );
      return c.json({ version, resources: chosen } satisfies ListResponse);
    })
    .delete("/v1/resources/:apiVersion/:kind/:namespace/:name", async (c) => {
      const removed = await mesh.remove(c.req.param(), c.get("operator"));
      if (!removed.ok)
        return refuse(c, ...wordsOf(removed.error), { problems: removed.error.problems });
      const { epoch, version } = removed.value;
      return c.json({ epoch, version } satisfies DeleteResponse);
    });
}

function meshRoutes(deps: OperatorRoutesDeps) {
  const { store, mesh, issuer, clock } = deps;
  return new Hono<Env>()
    .post("/v1/tokens", bounded(BODY_BYTES_MAX), async (c) => {
      const body = await readBody(c, tokenBody);
      if (!body.ok) return body.error;
      const { host, serviceAccounts, ttlSeconds, address } = body.value;
      const addresses = address === undefined ? [] : [address];
      const grant = { host, serviceAccounts, addresses, ttlMs: ttlSeconds * 1000 };
      const made = makeJoinToken(grant, {
        servers: deps.servers(),
        caSha256: issuer.caSha256,
        who: c.get("operator"),
        nowMs: clock.wallMs(),
      });
      if (!made.ok) {
        return refuse(c, 400, "invalid_grant", "this grant cannot be made", {
          problems: made.error,
        });
      }
      const { text, record } = made.value;
      await store.addToken(record);
      return c.json({ token: text } satisfies TokenResponse);
    })
    .delete("/v1/hosts/:name", async (c) => {
      const name = c.req.param("name");
      const removed = await mesh.removeHost(name, c.get("operator"));
      if (removed.ok) {
        const { epoch, version } = removed.value;
        return c.json({ epoch, version } satisfies ExpelResponse);
      }
      if (removed.error.code !== "not_found") return refuse(c, ...wordsOf(removed.error));
      return refuse(c, 404, "not_found", `no host ${JSON.stringify(name)} has joined`, {
        next: "`meshctl status` lists them",
      });
    })
    .post("/v1/login", (c) => c.json({ operator: c.get("operator") } satisfies LoginResponse))
    .get("/v1/status", async (c) => c.json(await statusOf(deps)))
    .get("/v1/members", (c) =>
      c.json({ observer: SERVER_MEMBER, members: deps.members() } satisfies MembersAnswer),
    )
    .get("/v1/audit", async (c) => {
      const limit = Number(c.req.query("limit") ?? 100);
      if (!Number.isInteger(limit) || limit < 1 || limit > AUDIT_ANSWER_MAX) {
        return refuse(c, 400, "invalid_limit", `limit must be from 1 to ${AUDIT_ANSWER_MAX}`);
      }
      return c.json({ records: await store.audit(limit) });
    });
}

async function statusOf({ store, hub }: OperatorRoutesDeps): Promise<MeshStatus> {
  const { epoch, version, hosts } = await store.state();
  const statuses = new Map(hub.statuses().map((status) => [status.host, status]));
  return {
    epoch,
    version,
    hosts: hosts.map(({ name, addresses }): HostStatus => {
      const status = statuses.get(name);
      const nack = status?.nack;
      return {
        name,
        address: addresses[0],
        isConnected: status?.isConnected ?? false,
        agentVersion: status?.agentVersion || undefined,
        ackedVersion: status?.acked?.epoch === epoch ? status.acked.version : undefined,
        ...(nack === undefined ? {} : { nack: { version: nack.version, reasons: nack.reasons } }),
        certificateExpiresAtMs: hub.certificateExpiryOf(name),
      };
    }),
  };
}

function wordsOf({ code }: Refusal): [status: 400 | 404 | 409, code: string, message: string] {
  switch (code) {
    case "invalid_resource":
      return [400, code, "nothing was applied: correct what the problems name"];
    case "agents_cannot_run":
      return [409, code, "nothing was applied: connected agents are too old for it"];
    case "not_found":
      return [404, code, "there is no such resource: see `meshctl get`"];
    case "conflict":
      return [409, code, "others kept changing the mesh meanwhile: try again"];
  }
}
