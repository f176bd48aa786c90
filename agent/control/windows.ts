// Where the agent is looked at: the metrics port and the admin socket, opened at a start or taken over from a predecessor.
import { rmSync } from "node:fs";
import {
  type AdminSource,
  answerAdmin,
  answerMetrics,
  decisionAnswer,
  decisionIn,
  isUpgrade,
  upgradeAnswer,
} from "../observe/admin.ts";
import { gidOf } from "../os/host-facts.ts";
import { closeListener, listenLocally, listenOn } from "../os/listening-socket.ts";
import type { Answerer, LocalServer } from "../os/local-http.ts";
import type { KeptDescriptor } from "../os/notify.ts";
import type { ExplainDesk } from "./explain-desk.ts";
import type { Upgrade } from "./upgrade.ts";

export interface WindowsConfig {
  readonly adminSocket: string;
  /** Group that may use the admin socket; undefined: the agent's own. */
  readonly adminGroup: string | undefined;
  readonly metricsAddress: string;
  readonly metricsPort: number;
}

type Name = "metrics" | "admin";
const NAMES: readonly string[] = ["metrics", "admin"] satisfies readonly Name[];
export const isWindow = ({ name }: KeptDescriptor): boolean => NAMES.includes(name);

export class Windows {
  readonly #config: WindowsConfig;
  readonly #source: AdminSource;
  readonly #upgrade: Upgrade;
  readonly #desk: ExplainDesk;
  /** Listening sockets; who asks before they are answered waits. */
  readonly #listening = new Map<Name, number>();
  readonly #servers = new Map<Name, LocalServer>();

  constructor(
    config: WindowsConfig,
    deps: {
      readonly source: AdminSource;
      readonly upgrade: Upgrade;
      readonly desk: ExplainDesk;
    },
  ) {
    this.#config = config;
    this.#source = deps.source;
    this.#upgrade = deps.upgrade;
    this.#desk = deps.desk;
  }

  /** The port before the socket: a second agent ends here, before it takes connections of the first (agents of one user may share the
   *  data threads' ports) or its socket. `handed`: a predecessor's, used where they are there. */
  open(handed: readonly KeptDescriptor[] = []): void {
    const { metricsAddress, metricsPort, adminSocket } = this.#config;
    const fdOf = (name: Name) => handed.find((socket) => socket.name === name)?.fd;
    this.#listening.set("metrics", fdOf("metrics") ?? listenOn(metricsAddress, metricsPort));
    this.#listening.set("admin", fdOf("admin") ?? listenLocally(adminSocket, this.#groupId()));
  }

  /** Loads an HTTP server: not before traffic flows. */
  async answer(): Promise<void> {
    const answerers: { readonly [name in Name]: Answerer } = {
      metrics: (method, target) => answerMetrics(this.#source, method, target),
      admin: async (method, target) => {
        if (isUpgrade(method, target)) return upgradeAnswer(await this.#upgrade.run());
        const decision = decisionIn(method, target);
        return decision === undefined
          ? answerAdmin(this.#source, method, target)
          : decisionAnswer(await this.#desk.explain(decision));
      },
    };
    const { serveLocally } = await import("../os/local-http.ts");
    for (const [name, fd] of [...this.#listening]) {
      this.#servers.set(name, serveLocally(fd, answerers[name]));
      this.#listening.delete(name);
    }
  }

  #groupId(): number | undefined {
    const { adminGroup } = this.#config;
    const group = adminGroup === undefined ? undefined : gidOf(adminGroup);
    if (adminGroup !== undefined && group === undefined) {
      throw new Error(`this host has no group ${adminGroup}: make it, or leave --admin-group out`);
    }
    return group;
  }

  get sockets(): readonly KeptDescriptor[] {
    return [
      ...this.#listening,
      ...[...this.#servers].map(([name, { fd }]) => [name, fd] as const),
    ].map(([name, fd]) => ({ name, fd }));
  }

  /** Asks no more; a successor has the sockets. */
  giveAway(): void {
    for (const server of this.#servers.values()) server.close();
    for (const fd of this.#listening.values()) closeListener(fd);
    this.#servers.clear();
    this.#listening.clear();
  }

  /** For good, unless they were given away. */
  close(): void {
    if (this.#servers.size + this.#listening.size === 0) return;
    this.giveAway();
    rmSync(this.#config.adminSocket, { force: true });
  }
}
