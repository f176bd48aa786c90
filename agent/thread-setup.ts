// The memory that an agent's data threads share, and what each is told when it starts. agent.ts wires it.
import { MESH_PORT } from "./api/mesh-wire.ts";
import type { Random } from "./base/clock.ts";
import { SharedSlots } from "./base/slots.ts";
import {
  type AgentOptions,
  DNS_PORT,
  HOST_LISTENER_PORT,
  INBOUND_PORT,
} from "./control/agent-options.ts";
import type { ThreadConfig } from "./control/thread-messages.ts";
import { keptFor } from "./os/listener-names.ts";
import type { KeptDescriptor } from "./os/notify.ts";
import { bucketMemory } from "./resilience/keyed-buckets.ts";

/** Shared cells: the first are the agent's own, the rest the compiler hands out. 4 MiB, touched only as used. */
export const SLOTS = 1 << 20;
export const SLOT_FIRST = 64;
/** Callers that rate limits tell apart at a time, in all; see docs/operating.md. 1 MiB, touched only as used. */
const RATE_BUCKETS = 65_536;

/** Of the machine, and of the process before this one. */
export interface ThreadFacts {
  readonly hasIpv6: boolean;
  /** Of resolv.conf, and of these those whose port is taken. */
  readonly allResolvers: readonly string[];
  readonly resolvers: readonly string[];
  readonly notifySocket: string | undefined;
  readonly kept: readonly KeptDescriptor[];
}

export class ThreadSetup {
  readonly #options: AgentOptions;
  readonly #random: Random;
  readonly #slotMemory = new SharedArrayBuffer(SLOTS * 4);
  readonly slots = new SharedSlots(this.#slotMemory);
  readonly #buckets = {
    memory: bucketMemory(RATE_BUCKETS),
    seed: [...crypto.getRandomValues(new Int32Array(2))] as [number, number],
  };

  constructor(options: AgentOptions, random: Random) {
    this.#options = options;
    this.#random = random;
  }

  configOf(index: number, facts: ThreadFacts): ThreadConfig {
    const { hasIpv6, allResolvers, resolvers, notifySocket, kept } = facts;
    const { takesFaults, connectionsMax, http, drainTimeoutMs, accessLog, io, redirect } =
      this.#options;
    const takesNames = index === 0 && resolvers.length > 0;
    return {
      ...{ index, takesFaults, connectionsMax, http, drainTimeoutMs, accessLog },
      seed: this.#random.int32(),
      slots: this.#slotMemory,
      held: new SharedArrayBuffer(SLOTS * 4),
      beat: new SharedArrayBuffer(4),
      buckets: this.#buckets,
      hostListenerPort: HOST_LISTENER_PORT,
      inboundPort: INBOUND_PORT,
      meshPort: MESH_PORT,
      hasIpv6,
      usesUring: io === "auto",
      resumesSessions: this.#options.tlsResumption === "auto",
      takesDatagrams: redirect !== "none",
      resolvers: allResolvers,
      dns: takesNames ? { resolvers, port: DNS_PORT } : undefined,
      notifySocket,
      kept: keptFor(index, kept),
    };
  }
}
