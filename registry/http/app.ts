// The server's HTTP face: no sockets, no files, no clock of its own; registry.ts hands it requests and who sent them.
import { Hono } from "hono";
import type { Log } from "../../agent/base/log.ts";
import { StoreUnavailable } from "../store/store.ts";
import { type AgentRoutesDeps, agentRoutes } from "./agents.ts";
import { refuse } from "./answers.ts";
import { type OperatorRoutesDeps, operatorRoutes } from "./operators.ts";
import type { Bindings } from "./peer.ts";

export type AppDeps = AgentRoutesDeps & OperatorRoutesDeps & { readonly log: Log };

/** Agents' routes come first: they are let in by certificate or join token, all others by an operator's token. */
export function createApp(deps: AppDeps) {
  const app = new Hono<{ Bindings: Bindings }>();
  app.onError((cause, c) => {
    if (cause instanceof StoreUnavailable) {
      deps.log.warn("a request needs the store, which is away", { path: c.req.path });
      return refuse(c, 503, "store_unavailable", cause.message, { next: cause.next });
    }
    deps.log.error("a request failed: this is a bug", {
      path: c.req.path,
      cause: cause instanceof Error ? (cause.stack ?? cause.message) : "not an Error",
    });
    return refuse(c, 500, "bug", "the server failed at this request", {
      next: "look for it in the server's log",
    });
  });
  app.notFound((c) => refuse(c, 404, "no_such_route", `there is no ${c.req.method} ${c.req.path}`));
  return app
    .get("/healthz", (c) => c.text("ok\n"))
    .route("/", agentRoutes(deps))
    .route("/", operatorRoutes(deps));
}
