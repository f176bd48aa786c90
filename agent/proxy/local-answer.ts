// Routes that answer by themselves: VirtualService `redirect` and `directResponse`.
import { unreachable } from "../base/assert.ts";
import type { DirectAction, HttpRoute, RedirectAction } from "../policy/snapshot.ts";
import type { RequestHead } from "../protocol/http1/head.ts";
import type { LocalAnswer } from "./traffic-plan.ts";

export function answerAction(
  action: RedirectAction | DirectAction,
  route: HttpRoute,
  head: RequestHead,
): LocalAnswer {
  const { set, add } = route.headers.response;
  const fields = [...set, ...add].map(([name, value]) => [name.toLowerCase(), value] as const);
  const base = {
    is: "answer",
    flag: "-",
    details: "direct_response",
    status: action.status,
  } as const;
  switch (action.is) {
    case "direct":
      return { ...base, body: action.body, fields };
    case "redirect":
      return { ...base, body: "", fields: [...fields, ["location", locationOf(action, head)]] };
    default:
      return unreachable(action);
  }
}

function locationOf(action: RedirectAction, head: RequestHead): string {
  const scheme = action.scheme ?? "http";
  const authority = withPort(action.authority ?? head.authority, action.port, scheme);
  return `${scheme}://${authority}${action.uri ?? head.target}`;
}

const DEFAULT_PORTS: { readonly [scheme: string]: number } = { http: 80, https: 443 };

function withPort(authority: string, port: RedirectAction["port"], scheme: string): string {
  if (port === undefined || port === "from_request_port") return authority;
  const bare = authority.replace(/:\d+$/, "");
  if (port === "from_protocol_default" || DEFAULT_PORTS[scheme] === port) return bare;
  return `${bare}:${port}`;
}
