// The page's server side over real sockets, without a browser: what is served to whom, who may log in, and who may watch.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { request } from "node:https";
import { WebSocket } from "ws";
import type { LiveView, ServiceView } from "../../agent/api/edges.ts";
import { ReportingMesh, sample } from "../../test/support/reporting-mesh.ts";
import { CONTENT_SECURITY_POLICY } from "./guard.ts";
import { SESSION_IDLE_MS, SESSION_LIFETIME_MS } from "./sessions.ts";

let mesh: ReportingMesh;
let origin: string;
beforeAll(async () => {
  mesh = await ReportingMesh.start();
  origin = mesh.registry.url;
  await mesh.declare("vm1", "web");
  await mesh.declare("vm2", "shop");
  await mesh.join("vm1", "10.0.0.1", "web");
  await mesh.join("vm2", "10.0.0.2", "shop");
});
afterAll(() => mesh.close());

interface Answer {
  readonly status: number;
  readonly fields: { readonly [name: string]: string | string[] | undefined };
  readonly text: string;
}

function ask(
  method: string,
  path: string,
  fields: Record<string, string> = {},
  body = "",
): Promise<Answer> {
  const { url, trustBundle } = mesh.registry;
  return new Promise((resolve, reject) => {
    const outgoing = request(
      url + path,
      { method, agent: false, ca: [...trustBundle], headers: fields },
      (incoming) => {
        let text = "";
        incoming.on("data", (chunk: Buffer) => {
          text += chunk.toString();
        });
        incoming.on("end", () =>
          resolve({ status: incoming.statusCode ?? 0, fields: incoming.headers, text }),
        );
      },
    );
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

const json = { "content-type": "application/json" };
const logIn = (token: string, fields: Record<string, string> = { origin }) =>
  ask("POST", "/dashboard/login", { ...json, ...fields }, JSON.stringify({ token }));

interface LoggedIn {
  readonly cookie: string;
  readonly csrf: string;
}
async function loggedIn(): Promise<LoggedIn> {
  const answer = await logIn(mesh.operatorToken);
  expect(answer.status).toBe(200);
  const [cookie = ""] = (answer.fields["set-cookie"]?.[0] ?? "").split(";");
  return { cookie, csrf: (JSON.parse(answer.text) as { csrf: string }).csrf };
}

describe("what is served", () => {
  test("the page, its script and its style come from the executable, under a policy that allows nothing else", async () => {
    for (const [path, type, part] of [
      ["/dashboard/", "text/html", '<script type="module" src="/dashboard/page.js">'],
      ["/dashboard/page.js", "text/javascript", "WebSocket"],
      ["/dashboard/page.css", "text/css", "prefers-color-scheme"],
      ["/dashboard/icon.svg", "image/svg+xml", "<svg"],
    ] as const) {
      const { status, fields, text } = await ask("GET", path);
      expect(status).toBe(200);
      expect(fields["content-type"]).toStartWith(type);
      expect(text).toContain(part);
      expect(fields["content-security-policy"]).toBe(CONTENT_SECURITY_POLICY);
      expect(fields).toMatchObject({
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
      });
    }
  });

  test("the policy names no other host and nothing inline, and the page needs neither", async () => {
    expect(CONTENT_SECURITY_POLICY).toStartWith("default-src 'none';");
    expect(CONTENT_SECURITY_POLICY).not.toMatch(/unsafe|https?:|\*|data:|blob:/);
    const { text } = await ask("GET", "/dashboard/");
    expect(text).not.toMatch(
      /<style|style=|\son[a-z]+=|<script(?![^>]*\ssrc="\/dashboard\/)|https?:\/\//,
    );
    const script = (await ask("GET", "/dashboard/page.js")).text;
    expect(script).not.toMatch(
      /innerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function\(/,
    );
    const hosts = (script.match(/(?:https?|wss?):\/\/[a-z0-9.-]+/g) ?? []).filter(
      (url) => url !== "http://www.w3.org",
    );
    expect(hosts).toEqual([]);
  });

  test("an unchanged file is not sent again", async () => {
    const first = await ask("GET", "/dashboard/page.js");
    const again = await ask("GET", "/dashboard/page.js", {
      "if-none-match": String(first.fields["etag"]),
    });
    expect(again).toMatchObject({ status: 304, text: "" });
  });

  test("the way in is short, and refusals are guarded too", async () => {
    expect((await ask("GET", "/")).fields["location"]).toBe("/dashboard/");
    const { status, fields } = await ask("GET", "/dashboard/nothing");
    expect(status).toBe(404);
    expect(fields["content-security-policy"]).toBe(CONTENT_SECURITY_POLICY);
  });

  test("without a session nothing of the mesh is told", async () => {
    for (const path of ["/dashboard/session", "/dashboard/service?host=web.default.mesh"]) {
      const { status, text } = await ask("GET", path, { cookie: "__Host-ironmesh-session=guess" });
      expect(status).toBe(401);
      expect(text).not.toContain("10.0.0");
    }
  });
});

describe("logging in", () => {
  test("an operator's token gives a cookie that no script reads, no other site sends and no plain connection carries", async () => {
    const answer = await logIn(mesh.operatorToken);
    const cookie = answer.fields["set-cookie"]?.[0] ?? "";
    expect(cookie).toMatch(/^__Host-ironmesh-session=[A-Za-z0-9_-]{43}; /);
    for (const part of [
      "Path=/",
      "HttpOnly",
      "Secure",
      "SameSite=Strict",
      `Max-Age=${SESSION_LIFETIME_MS / 1000}`,
    ])
      expect(cookie.split("; ")).toContain(part);
    expect(cookie).not.toContain("Domain");
    expect(answer.fields["cache-control"]).toBe("no-store");
    expect(answer.text).not.toContain(mesh.operatorToken);
    const { status, text } = await ask("GET", "/dashboard/session", {
      cookie: cookie.split(";")[0] ?? "",
    });
    expect(status).toBe(200);
    expect(JSON.parse(text)).toMatchObject({ operator: "admin" });
  });

  test("a wrong token, or none, is refused and gives no cookie", async () => {
    for (const token of ["", "wrong", `${mesh.operatorToken}x`, "x".repeat(300)]) {
      const { status, fields } = await logIn(token);
      expect([400, 401]).toContain(status);
      expect(fields["set-cookie"]).toBeUndefined();
    }
  });

  test.each<[string, Record<string, string>]>([
    ["no origin", {}],
    ["another origin", { origin: "https://evil.example" }],
    ["the same host without TLS", { origin: "http://127.0.0.1" }],
    ["an opaque origin", { origin: "null" }],
  ])("a right token from a page of %s is refused", async (_what, fields) => {
    const { status, fields: answered } = await logIn(mesh.operatorToken, fields);
    expect(status).toBe(403);
    expect(answered["set-cookie"]).toBeUndefined();
  });

  test("what a browser says is not of the same origin is refused, whatever its origin field", async () => {
    expect(
      (await logIn(mesh.operatorToken, { origin, "sec-fetch-site": "same-site" })).status,
    ).toBe(403);
    expect(
      (await logIn(mesh.operatorToken, { origin, "sec-fetch-site": "same-origin" })).status,
    ).toBe(200);
  });

  test("logging out needs the page's own word, and ends the session", async () => {
    const { cookie, csrf } = await loggedIn();
    expect((await ask("POST", "/dashboard/logout", { cookie, origin })).status).toBe(403);
    expect(
      (await ask("POST", "/dashboard/logout", { cookie, "x-ironmesh-csrf": csrf })).status,
    ).toBe(403);
    expect(
      (await ask("POST", "/dashboard/logout", { cookie, origin, "x-ironmesh-csrf": csrf })).status,
    ).toBe(200);
    expect((await ask("GET", "/dashboard/session", { cookie })).status).toBe(401);
  });

  test("a session that nobody uses ends", async () => {
    const { cookie } = await loggedIn();
    mesh.pass(SESSION_IDLE_MS - 60_000);
    expect((await ask("GET", "/dashboard/session", { cookie })).status).toBe(200);
    mesh.pass(SESSION_IDLE_MS + 1);
    expect((await ask("GET", "/dashboard/session", { cookie })).status).toBe(401);
  });

  test("a cookie opens nothing of the operators' API", async () => {
    const { cookie } = await loggedIn();
    expect((await ask("GET", "/v1/graph", { cookie, origin })).status).toBe(401);
  });
});

/** A page's end of the live view: what it was pushed, and how it ended. */
class Watcher {
  readonly socket: WebSocket;
  readonly views: LiveView[] = [];
  readonly ended: Promise<number>;
  #wake: () => void = () => undefined;

  constructor(query: string, fields: Record<string, string>) {
    const { url, trustBundle } = mesh.registry;
    this.socket = new WebSocket(`${url.replace("https", "wss")}/dashboard/live${query}`, {
      ca: [...trustBundle],
      headers: fields,
    });
    this.socket.on("message", (data) => {
      this.views.push(JSON.parse(String(data)) as LiveView);
      this.#wake();
    });
    this.socket.on("error", () => undefined);
    this.ended = new Promise((resolve) => this.socket.on("close", resolve));
  }

  async until(claim: (view: LiveView) => boolean): Promise<LiveView> {
    for (;;) {
      const found = this.views.findLast(claim);
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

describe("watching", () => {
  let session: LoggedIn;
  beforeEach(async () => {
    session = await loggedIn();
  });
  const watch = (
    change: { cookie?: string; csrf?: string; origin?: string; window?: string } = {},
  ): Watcher => {
    const { cookie, csrf } = { ...session, ...change };
    const query = new URLSearchParams({ csrf, window: change.window ?? "60" });
    return new Watcher(`?${query}`, { cookie, origin: change.origin ?? origin });
  };

  test("the graph is pushed, and again when traffic is told or the window changes", async () => {
    const watcher = watch();
    const first = await watcher.until(() => true);
    expect(first.mesh).toMatchObject({ hosts: 2, connected: 2 });
    expect(first.graph.nodes.map(({ name }) => name)).toEqual(["shop", "web"]);
    await mesh.steady({
      vm1: [
        sample("web", "shop", { failed: 60, answers: [{ status: 503, flags: "UH", count: 60 }] }),
      ],
    });
    const busy = await watcher.until(({ graph }) => graph.edges.length > 0);
    expect(busy.graph.edges[0]).toMatchObject({
      health: "failing",
      mtls: "all",
      problem: "10 % failed, most by 503 UH (no endpoint left)",
    });
    watcher.socket.send(JSON.stringify({ window: 300 }));
    const wide = await watcher.until(({ graph }) => graph.windowSeconds === 300);
    expect(wide.graph.edges).toHaveLength(1);
    watcher.socket.close();
    expect(await watcher.ended).toBe(1005);
  });

  test.each<[string, () => Watcher]>([
    ["without a cookie", () => watch({ cookie: "" })],
    ["with another's cookie", () => watch({ cookie: "__Host-ironmesh-session=guess" })],
    ["from another origin", () => watch({ origin: "https://evil.example" })],
    ["from no page", () => watch({ origin: "" })],
    ["without the page's own word", () => watch({ csrf: "" })],
    ["with the word of another session", () => watch({ csrf: "x".repeat(43) })],
    ["for a window that is none", () => watch({ window: "5" })],
  ])("is refused %s", async (_what, open) => {
    const watcher = open();
    await watcher.ended;
    expect(watcher.views).toEqual([]);
  });

  test("ends with the session", async () => {
    const watcher = watch();
    await watcher.until(() => true);
    const { cookie, csrf } = session;
    await ask("POST", "/dashboard/logout", { cookie, origin, "x-ironmesh-csrf": csrf });
    expect(await watcher.ended).toBe(4401);
  });

  test.each(["nonsense", '{"window":1}', '{"window":"60"}', "null"])(
    "ends at nonsense: %s",
    async (text) => {
      const watcher = watch();
      await watcher.until(() => true);
      watcher.socket.send(text);
      expect(await watcher.ended).toBe(4400);
    },
  );

  test("an agent's path stays an agent's: a page cannot open a session of a host", async () => {
    const { url, trustBundle } = mesh.registry;
    const socket = new WebSocket(`${url.replace("https", "wss")}/v1/session`, {
      ca: [...trustBundle],
      headers: { cookie: session.cookie, origin },
    });
    const error = await new Promise<Error>((resolve) => socket.on("error", resolve));
    expect(error.message).toContain("401");
  });
});

describe("a service", () => {
  test("shows where it runs, what shapes and guards it, and who last changed that", async () => {
    const rule = (kind: string, group: string, name: string, spec: object) => ({
      apiVersion: `${group}/v1`,
      kind,
      metadata: { name, namespace: "default" },
      spec,
    });
    await mesh.apply([
      rule("VirtualService", "networking.istio.io", "shop", {
        hosts: ["shop"],
        http: [{ route: [{ destination: { host: "shop" } }] }],
      }),
      rule("DestinationRule", "networking.istio.io", "all", { host: "*.default.mesh" }),
      rule("AuthorizationPolicy", "security.istio.io", "only-web", {
        selector: { matchLabels: { app: "shop" } },
        rules: [{ from: [{ source: { principals: ["mesh.test/ns/default/sa/web"] } }] }],
      }),
      rule("AuthorizationPolicy", "security.istio.io", "others", {
        selector: { matchLabels: { app: "web" } },
        rules: [{}],
      }),
    ]);
    const { cookie } = await loggedIn();
    const { text } = await ask("GET", "/dashboard/service?host=shop.default.mesh", { cookie });
    const view = JSON.parse(text) as ServiceView;
    expect(view.endpoints).toMatchObject([
      {
        host: "vm2",
        workload: "default/shop",
        version: "v1",
        isConnected: true,
        identity: "spiffe://mesh.test/ns/default/sa/shop",
      },
    ]);
    expect(view.policies.map(({ kind, title }) => `${kind} ${title}`).sort()).toEqual([
      "AuthorizationPolicy default/only-web",
      "DestinationRule default/all",
      "VirtualService default/shop",
      "Workload default/shop",
    ]);
    expect(view.changes.map(({ what, who }) => `${who}: ${what}`)).toContain(
      "admin: apply VirtualService default/shop",
    );
    expect(view.changes.map(({ what }) => what)).not.toContain(
      "apply AuthorizationPolicy default/others",
    );
  });

  test("that is not there is not found", async () => {
    const { cookie } = await loggedIn();
    expect(
      (await ask("GET", "/dashboard/service?host=ghost.default.mesh", { cookie })).status,
    ).toBe(404);
  });
});
