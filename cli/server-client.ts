// The config server's operator API as functions; see agent/api/operator-api.ts. Every failure names what to do next.

import type { DecisionAnswer } from "../agent/api/decisions.ts";
import type { GraphView } from "../agent/api/edges.ts";
import type { ExplainAnswer, ExplainQuestion } from "../agent/api/explain.ts";
import type { MembersAnswer } from "../agent/api/gossip.ts";
import type {
  ApplyRequest,
  ApplyResponse,
  DeleteResponse,
  ExpelResponse,
  ListResponse,
  LoginResponse,
  MeshStatus,
  TokenRequest,
  TokenResponse,
  ValidateResponse,
} from "../agent/api/operator-api.ts";
import { problemText } from "../agent/api/problem-text.ts";
import type { ApiError, ResourceDocument } from "../agent/api/session.ts";
import type { Problem } from "../agent/base/result.ts";
import type { Context } from "./contexts.ts";
import { type Answer, exchange } from "./exchange.ts";
import { CommandFailure } from "./failure.ts";
import { dialServer, parseServerUrl } from "./server-connection.ts";

const ANSWER_TIMEOUT_MS = 60_000;

/** The server understood and refused. */
export class Refusal extends CommandFailure {
  readonly code: string;
  readonly #error: ApiError["error"];

  constructor(error: ApiError["error"]) {
    const { code, message, next, problems = [] } = error;
    const lines = [message, ...problems.map((p) => `  ${problemText(p)}`)];
    super(lines.join("\n"), next ?? nextFor(code));
    this.code = code;
    this.#error = error;
  }

  /** The same, its problems with the file and line they stand in. */
  located(locate: (problem: Problem) => Problem): Refusal {
    const { problems = [] } = this.#error;
    return new Refusal({ ...this.#error, problems: problems.map(locate) });
  }
}

const nextFor = (code: string): string | undefined =>
  code === "unauthorized" ? "run `meshctl login` again with a valid operator token" : undefined;

export interface ResourceFilter {
  readonly kind?: string;
  readonly namespace?: string;
  readonly name?: string;
}

export class ServerClient {
  readonly #url: URL;
  readonly #context: Context;

  constructor(context: Context) {
    this.#url = parseServerUrl(context.server);
    this.#context = context;
  }

  get server(): string {
    return this.#url.host;
  }

  login(): Promise<LoginResponse> {
    return this.#call("POST", "/v1/login", {});
  }

  apply(documents: readonly ResourceDocument[], isDryRun: boolean): Promise<ApplyResponse> {
    const body: ApplyRequest = { documents };
    return this.#call("POST", `/v1/apply${isDryRun ? "?dryRun=1" : ""}`, body);
  }

  validate(documents: readonly ResourceDocument[]): Promise<ValidateResponse> {
    const body: ApplyRequest = { documents };
    return this.#call("POST", "/v1/validate", body);
  }

  list(filter: ResourceFilter): Promise<ListResponse> {
    const query = new URLSearchParams({ ...filter }).toString();
    return this.#call("GET", `/v1/resources${query && `?${query}`}`);
  }

  delete({ apiVersion, kind, metadata }: Omit<ResourceDocument, "spec">): Promise<DeleteResponse> {
    const parts = [apiVersion, kind, metadata.namespace, metadata.name].map(encodeURIComponent);
    return this.#call("DELETE", `/v1/resources/${parts.join("/")}`);
  }

  createToken(request: TokenRequest): Promise<TokenResponse> {
    return this.#call("POST", "/v1/tokens", request);
  }

  expel(host: string): Promise<ExpelResponse> {
    return this.#call("DELETE", `/v1/hosts/${encodeURIComponent(host)}`);
  }

  status(): Promise<MeshStatus> {
    return this.#call("GET", "/v1/status");
  }

  graph(windowSeconds: number, by: "service" | "workload"): Promise<GraphView> {
    return this.#call("GET", `/v1/graph?window=${windowSeconds}&by=${by}`);
  }

  decision(id: string): Promise<DecisionAnswer> {
    return this.#call("GET", `/v1/decisions/${encodeURIComponent(id)}`);
  }

  explain(question: ExplainQuestion): Promise<ExplainAnswer> {
    return this.#call("POST", "/v1/explain", question);
  }

  /** Where a browser finds the server's page; fails, in words, if there is none at that address. */
  async dashboard(): Promise<string> {
    const { status, body } = await this.#exchange("GET", "/dashboard/");
    if (status === 200 && body.includes("/dashboard/page.js")) return `https://${this.#url.host}/`;
    throw new CommandFailure(
      `the config server at ${this.#url.host} has no dashboard (it answered ${status})`,
      "is it of this version? compare `meshctl version` on both",
    );
  }

  members(): Promise<MembersAnswer> {
    return this.#call("GET", "/v1/members");
  }

  async #call<T>(method: string, path: string, body?: unknown): Promise<T> {
    return readAnswer<T>(await this.#exchange(method, path, body), `${method} ${path}`);
  }

  async #exchange(method: string, path: string, body?: unknown): Promise<Answer> {
    const socket = await dialServer(this.#url, this.#context.caPem);
    const request = {
      method,
      path,
      host: this.#url.host,
      headers: { authorization: `Bearer ${this.#context.token}` },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    };
    return exchange(socket, request, ANSWER_TIMEOUT_MS).catch((error: unknown) => {
      const why = error instanceof Error ? error.message : String(error);
      throw new CommandFailure(
        `${method} ${path} at ${this.#url.host}: ${why}`,
        "ask again; if it was a write, `meshctl get` or `meshctl diff` tells whether it took place",
      );
    });
  }
}

function readAnswer<T>({ status, body }: Answer, what: string): T {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw new CommandFailure(
      `${what}: the server answered ${status} without JSON`,
      "is there a config server of this version at that address? compare `meshctl version`",
    );
  }
  if (status >= 200 && status < 300) return value as T; // Both ends are one executable; agent/api says the shape.
  if (isApiError(value)) throw new Refusal(value.error);
  throw new CommandFailure(`${what}: the server answered ${status}`);
}

const isApiError = (value: unknown): value is ApiError =>
  typeof value === "object" &&
  value !== null &&
  "error" in value &&
  typeof value.error === "object" &&
  value.error !== null &&
  "code" in value.error &&
  "message" in value.error;
