// The page and what it asks for over HTTP. The page itself is public, as its code is; everything it shows needs a session.
import { type Context, Hono } from "hono";
import { deleteCookie, getCookie, setCookie } from "hono/cookie";
import { etag } from "hono/etag";
import * as z from "zod";
import type { ServiceView } from "../../agent/api/edges.ts";
import { ROOT_NAMESPACE } from "../../agent/api/resource.ts";
import type { Log } from "../../agent/base/log.ts";
import { bounded, readBody, refuse } from "../http/answers.ts";
import { operatorOf } from "../http/operator-token.ts";
import type { Bindings } from "../http/peer.ts";
import type { Hub } from "../push/hub.ts";
import { NO_FACTS } from "../push/mesh-facts.ts";
import type { Store } from "../store/store.ts";
import { ASSETS } from "./assets.ts";
import { areEqualTexts, COOKIE, CSRF_FIELD, guarded, isSameOrigin } from "./guard.ts";
import { serviceView } from "./service-view.ts";
import { type OperatorSession, type OperatorSessions, SESSION_LIFETIME_MS } from "./sessions.ts";

const LOGIN_BYTES_MAX = 4_096;
/** How far back changes of a service are looked for. */
const AUDIT_SEARCHED_MAX = 1_000;

export interface DashboardDeps {
  readonly store: Store;
  readonly hub: Hub;
  readonly sessions: OperatorSessions;
  readonly log: Log;
}

type Env = { Bindings: Bindings };
const loginBody = z.strictObject({ token: z.string().max(256) });

export function dashboardRoutes(deps: DashboardDeps) {
  const pages = new Hono<Env>();
  for (const [path, { type, body }] of Object.entries(ASSETS)) {
    pages.get(path, etag(), (c) =>
      c.body(body, 200, { "content-type": type, "cache-control": "no-cache" }),
    );
  }
  return new Hono<Env>()
    .get("/", (c) => c.redirect("/dashboard/"))
    .use("/dashboard", guarded)
    .use("/dashboard/*", guarded)
    .get("/dashboard", (c) => c.redirect("/dashboard/"))
    .route("/", pages)
    .route("/dashboard", sessionRoutes(deps))
    .get("/dashboard/service", (c) => serviceAnswer(c, deps));
}

function sessionRoutes({ store, sessions, log }: DashboardDeps) {
  return new Hono<Env>()
    .post("/login", bounded(LOGIN_BYTES_MAX), async (c) => {
      if (!cameFromOurPage(c)) return refuseStranger(c);
      const body = await readBody(c, loginBody);
      if (!body.ok) return body.error;
      const operator = await operatorOf(store, body.value.token.trim());
      if (operator === undefined) {
        return refuse(c, 401, "unauthorized", "this is no operator's token", {
          next: "the first token lies in the server's state directory, in operator-token",
        });
      }
      sessions.close(getCookie(c, COOKIE, "host"));
      const { secret, session } = sessions.open(operator);
      setCookie(c, COOKIE, secret, {
        prefix: "host",
        path: "/",
        secure: true,
        httpOnly: true,
        sameSite: "Strict",
        maxAge: SESSION_LIFETIME_MS / 1000,
      });
      log.info("an operator logged in to the page", { operator: operator.name });
      return c.json(told(session));
    })
    .post("/logout", async (c) => {
      const secret = getCookie(c, COOKIE, "host");
      const session = await sessions.find(secret);
      if (session === undefined) return refuseNobody(c);
      if (!cameFromOurPage(c) || !areEqualTexts(session.csrf, c.req.header(CSRF_FIELD)))
        return refuseStranger(c);
      sessions.close(secret);
      deleteCookie(c, COOKIE, { prefix: "host", path: "/", secure: true });
      return c.json({});
    })
    .get("/session", async (c) => {
      const session = await sessions.find(getCookie(c, COOKIE, "host"));
      return session === undefined ? refuseNobody(c) : c.json(told(session));
    });
}

async function serviceAnswer(
  c: Context<Env>,
  { store, hub, sessions }: DashboardDeps,
): Promise<Response> {
  if ((await sessions.find(getCookie(c, COOKIE, "host"))) === undefined) return refuseNobody(c);
  const view = serviceView(hub.latest?.facts ?? NO_FACTS, {
    host: c.req.query("host") ?? "",
    rootNamespace: ROOT_NAMESPACE,
    connectedHosts: hub.connectedHosts,
    audit: await store.audit(AUDIT_SEARCHED_MAX),
  });
  if (view === undefined) return refuse(c, 404, "not_found", "there is no such service any more");
  return c.json(view satisfies ServiceView);
}

const told = ({ operator, csrf, expiresAtMs }: OperatorSession) => ({
  operator,
  csrf,
  expiresAtMs,
});

const cameFromOurPage = (c: Context): boolean =>
  isSameOrigin({
    origin: c.req.header("origin"),
    host: c.req.header("host"),
    fetchSite: c.req.header("sec-fetch-site"),
  });

const refuseStranger = (c: Context): Response =>
  refuse(c, 403, "wrong_origin", "this request did not come from this server's own page");
const refuseNobody = (c: Context): Response =>
  refuse(c, 401, "not_logged_in", "log in with an operator's token");
