// The local agent, over its admin socket; see agent/api/admin.ts.
import { connect, type Socket } from "node:net";
import {
  ADMIN_PATHS,
  ADMIN_SOCKET,
  type AgentCertificate,
  type AgentStatus,
  type LookedUpName,
} from "../agent/api/admin.ts";
import type { DecisionAnswer } from "../agent/api/decisions.ts";
import type { MembersAnswer } from "../agent/api/gossip.ts";
import type { Snapshot } from "../agent/policy/snapshot.ts";
import { exchange } from "./exchange.ts";
import { CommandFailure } from "./failure.ts";

const ANSWER_TIMEOUT_MS = 10_000;
/** The agent itself waits half a minute for its successor. */
const UPGRADE_TIMEOUT_MS = 45_000;

export class AdminClient {
  readonly #path: string;

  constructor(path: string = ADMIN_SOCKET) {
    this.#path = path;
  }

  status(): Promise<AgentStatus> {
    return this.#get(ADMIN_PATHS.status);
  }
  snapshot(): Promise<Snapshot> {
    return this.#get(ADMIN_PATHS.snapshot);
  }
  members(): Promise<MembersAnswer> {
    return this.#get(ADMIN_PATHS.members);
  }
  names(): Promise<readonly LookedUpName[]> {
    return this.#get(ADMIN_PATHS.names);
  }
  certificates(): Promise<readonly AgentCertificate[]> {
    return this.#get(ADMIN_PATHS.certificates);
  }

  decision(id: string): Promise<DecisionAnswer> {
    return this.#get(`${ADMIN_PATHS.decisions}${encodeURIComponent(id)}`);
  }

  renew(): Promise<{ readonly asked: number }> {
    return this.#ask("PUT", ADMIN_PATHS.renew);
  }

  /** Resolves to the new process's id once it serves. */
  upgrade(): Promise<{ readonly pid: number }> {
    return this.#ask("PUT", ADMIN_PATHS.upgrade, UPGRADE_TIMEOUT_MS);
  }

  #get<T>(path: string): Promise<T> {
    return this.#ask("GET", path);
  }

  async #ask<T>(method: "GET" | "PUT", path: string, timeoutMs = ANSWER_TIMEOUT_MS): Promise<T> {
    const socket = await this.#dial();
    const request = { method, path, host: "admin" };
    const { status, body } = await exchange(socket, request, timeoutMs);
    if (status === 200) return JSON.parse(body) as T; // Both ends are one executable; api/admin.ts says the shape.
    if (status === 404) throw new CommandFailure(body.trim().slice(0, 400));
    throw new CommandFailure(
      `the agent answered ${status}: ${body.trim().slice(0, 200)}`,
      status === 503
        ? "it has not been told a configuration yet: `meshctl status --agent` says whether it reaches its server"
        : undefined,
    );
  }

  #dial(): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const socket = connect({ path: this.#path }, () => resolve(socket));
      socket.on("error", (error: NodeJS.ErrnoException) => reject(unreachable(this.#path, error)));
    });
  }
}

function unreachable(path: string, error: NodeJS.ErrnoException): CommandFailure {
  if (error.code === "EACCES")
    return new CommandFailure(
      `may not open the agent's admin socket ${path}`,
      "run as root or as a member of the socket's group",
    );
  return new CommandFailure(
    `no agent answers at ${path}: ${error.code ?? error.message}`,
    "is `meshctl agent` running on this host? name another socket with --admin PATH",
  );
}
