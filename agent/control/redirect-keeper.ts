// Keeps the host's redirect as the snapshot wants it: whole when rules change, one element at a time when only endpoints do.
import { err, type Result } from "../base/result.ts";
import { applyRedirect, chooseBackend, updateEndpoints } from "../os/redirect/apply.ts";
import type { AddressPort, Owner, RedirectInput } from "../os/redirect/input.ts";
import { planRedirect, type RedirectPlan } from "../os/redirect/plan.ts";
import type { Runner } from "../os/redirect/runner.ts";
import { OUTBOUND_PORT_FIRST, OUTBOUND_PORT_LAST } from "../policy/books.ts";
import type { ProcessSelector, Snapshot } from "../policy/snapshot.ts";

export const VIP4_RANGE = "240.240.0.0/16";
export const VIP6_RANGE = "2001:2::/48";

export interface RedirectSettings {
  readonly backend: "auto" | "iptables" | "nft";
  readonly mode: "declared" | "all";
  readonly agentUid: number;
  readonly hostListenerPort: number;
  readonly inboundPort: number;
  readonly meshPort: number;
  readonly dnsPort: number;
  readonly resolvers: readonly string[];
  readonly hasIpv6: boolean;
  readonly exclusions: RedirectInput["exclusions"];
  readonly sshPorts: readonly number[];
}

/** Numeric ids of names; undefined: the host has no such user. */
export type UidOf = (user: string) => number | undefined;

export function redirectInputOf(
  snapshot: Snapshot,
  settings: RedirectSettings,
  backend: RedirectPlan["backend"],
  uidOf: UidOf,
): Result<RedirectInput, string> {
  const workloads: RedirectInput["workloads"][number][] = [];
  for (const workload of snapshot.workloads) {
    const owner = ownerOf(workload.selector, uidOf);
    const name = `${workload.namespace}/${workload.name}`;
    if (owner === undefined) return err(`workload ${name}: this host has no such user`);
    workloads.push({
      name,
      outboundPort: workload.outboundPort,
      owner,
      appPorts: [...new Set(workload.ports.map((port) => port.appPort))],
    });
  }
  const endpoints = snapshot.endpoints
    .filter((endpoint) => endpoint.mesh !== undefined)
    .map((endpoint): AddressPort => [endpoint.address, endpoint.port]);
  // A ServiceEntry's own addresses lie outside the virtual ranges, so they are listed one by one.
  const addresses = snapshot.services.flatMap((service) =>
    (service.addresses ?? []).flatMap((address) =>
      service.ports.map(({ port }): AddressPort => [address, port]),
    ),
  );
  return {
    ok: true,
    value: {
      ...settings,
      backend,
      workloads,
      listenerRange: [OUTBOUND_PORT_FIRST, OUTBOUND_PORT_LAST],
      vip4: VIP4_RANGE,
      vip6: VIP6_RANGE,
      endpoints: uniquePairs([...endpoints, ...addresses]),
    },
  };
}

function ownerOf(selector: ProcessSelector, uidOf: UidOf): Owner | undefined {
  if (selector.is !== "user") return selector;
  const uid = uidOf(selector.user);
  return uid === undefined ? undefined : { is: "uid", uid };
}

const keyOf = ([address, port]: AddressPort): string => `${address} ${port}`;
const uniquePairs = (pairs: readonly AddressPort[]): readonly AddressPort[] => [
  ...new Map(pairs.map((pair) => [keyOf(pair), pair])).values(),
];

export class RedirectKeeper {
  readonly #settings: RedirectSettings;
  readonly #runner: Runner;
  readonly #uidOf: UidOf;
  #backend: RedirectPlan["backend"] | undefined;
  #applied: RedirectPlan | undefined;
  /** One change at a time: the kernel's tools would wait for each other's locks anyway. */
  #queue: Promise<unknown> = Promise.resolve();
  problem: string | undefined;

  constructor(settings: RedirectSettings, deps: { runner: Runner; uidOf: UidOf }) {
    this.#settings = settings;
    this.#runner = deps.runner;
    this.#uidOf = deps.uidOf;
  }

  get backend(): string {
    return this.#backend ?? this.#settings.backend;
  }
  get isApplied(): boolean {
    return this.#applied !== undefined;
  }
  get plan(): RedirectPlan | undefined {
    return this.#applied;
  }

  /** Resolves when the kernel is as this snapshot wants it; an error leaves what was. */
  follow(snapshot: Snapshot): Promise<Result<void, string>> {
    const done = this.#queue.then(() => this.#follow(snapshot));
    this.#queue = done;
    return done;
  }

  async #follow(snapshot: Snapshot): Promise<Result<void, string>> {
    const result = await this.#apply(snapshot);
    this.problem = result.ok ? undefined : result.error;
    return result;
  }

  async #apply(snapshot: Snapshot): Promise<Result<void, string>> {
    const backend = await this.#chooseBackend();
    if (!backend.ok) return backend;
    const input = redirectInputOf(snapshot, this.#settings, backend.value, this.#uidOf);
    if (!input.ok) return input;
    const plan = planRedirect(input.value);
    if (!plan.ok) return err(plan.error.map((p) => `${p.path}: ${p.reason}`).join("; "));
    const before = this.#applied;
    const done =
      before !== undefined && isSameButEndpoints(before, plan.value)
        ? await updateEndpoints(backend.value, endpointChanges(before, plan.value), this.#runner)
        : await applyRedirect(plan.value, this.#runner);
    if (!done.ok) return done;
    this.#applied = plan.value;
    return { ok: true, value: undefined };
  }

  async #chooseBackend(): Promise<Result<RedirectPlan["backend"], string>> {
    if (this.#backend === undefined) {
      const wanted = this.#settings.backend;
      const chosen =
        wanted === "auto"
          ? await chooseBackend(this.#runner)
          : { ok: true as const, value: wanted };
      if (!chosen.ok) return chosen;
      this.#backend = chosen.value;
    }
    return { ok: true, value: this.#backend };
  }
}

const isSameButEndpoints = (a: RedirectPlan, b: RedirectPlan): boolean =>
  JSON.stringify({ ...a, endpoints: [] }) === JSON.stringify({ ...b, endpoints: [] });

function endpointChanges(
  before: RedirectPlan,
  after: RedirectPlan,
): { add: readonly AddressPort[]; remove: readonly AddressPort[] } {
  const had = new Set(before.endpoints.map(keyOf));
  const has = new Set(after.endpoints.map(keyOf));
  return {
    add: after.endpoints.filter((pair) => !had.has(keyOf(pair))),
    remove: before.endpoints.filter((pair) => !has.has(keyOf(pair))),
  };
}
