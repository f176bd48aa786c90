// Keeps the host's redirect as the snapshot wants it: whole when rules change, one element at a time when only endpoints do.
import type { Timer, Timers } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { err, type Result } from "../base/result.ts";
import { applyRedirect, chooseBackend, updateEndpoints } from "../os/redirect/apply.ts";
import type { AddressPort, Owner, RedirectInput } from "../os/redirect/input.ts";
import { planRedirect, type RedirectPlan } from "../os/redirect/plan.ts";
import type { Runner } from "../os/redirect/runner.ts";
import type { SliceState } from "../os/redirect/slice.ts";
import { OUTBOUND_PORT_FIRST, OUTBOUND_PORT_LAST } from "../policy/books.ts";
import type { LocalWorkload, ProcessSelector, Snapshot } from "../policy/snapshot.ts";

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

/** Who of the names in Workloads is on this host. */
export interface HostOwners {
  /** Undefined: the host has no such user. */
  uidOf(user: string): number | undefined;
  sliceOf(slice: string): SliceState;
}

export interface ResolvedInput {
  readonly input: RedirectInput;
  /** Workloads whose user or slice is not on this host, a sentence each. The redirect is what it should be for all others; for these,
   *  of whom no process can be, it takes what comes to their ports and knows nobody. */
  readonly missing: readonly string[];
}

export function redirectInputOf(
  snapshot: Snapshot,
  settings: RedirectSettings,
  backend: RedirectPlan["backend"],
  owners: HostOwners,
): ResolvedInput {
  const workloads: RedirectInput["workloads"][number][] = [];
  const missing: string[] = [];
  for (const workload of snapshot.workloads) {
    const owner = ownerOf(workload.selector, owners);
    const name = `${workload.namespace}/${workload.name}`;
    if (owner === undefined)
      missing.push(`workload ${name}: this host has no ${selectorText(workload.selector)}`);
    workloads.push({
      name,
      outboundPort: workload.outboundPort,
      owner,
      ...portsOf(workload),
    });
  }
  const endpoints = snapshot.endpoints
    .filter((endpoint) => endpoint.mesh !== undefined)
    .map(({ address, port, isUdp }): AddressPort => pairOf(address, port, isUdp === true));
  // A ServiceEntry's own addresses lie outside the virtual ranges, so they are listed one by one.
  const addresses = snapshot.services.flatMap((service) =>
    (service.addresses ?? []).flatMap((address) =>
      service.ports.map(({ port, protocol }) => pairOf(address, port, protocol === "udp")),
    ),
  );
  // A virtual IP takes every connection, but only the datagrams that somebody declared: others are refused by the kernel at once.
  const datagrams = snapshot.services.flatMap(({ vip4, vip6, ports }) =>
    ports
      .filter(({ protocol }) => protocol === "udp")
      .flatMap(({ port }) =>
        [vip4, vip6].flatMap((vip) => (vip === undefined ? [] : [pairOf(vip, port, true)])),
      ),
  );
  return {
    missing,
    input: {
      ...settings,
      backend,
      workloads,
      listenerRange: [OUTBOUND_PORT_FIRST, OUTBOUND_PORT_LAST],
      vip4: VIP4_RANGE,
      vip6: VIP6_RANGE,
      endpoints: uniquePairs([...endpoints, ...addresses, ...datagrams]),
    },
  };
}

const pairOf = (address: string, port: number, isUdp: boolean): AddressPort =>
  isUdp ? [address, port, "udp"] : [address, port];

function portsOf({
  ports,
}: LocalWorkload): Pick<RedirectInput["workloads"][number], "appPorts" | "udpPorts"> {
  const of = (isUdp: boolean): readonly number[] => [
    ...new Set(
      ports.filter(({ protocol }) => (protocol === "udp") === isUdp).map(({ appPort }) => appPort),
    ),
  ];
  const udpPorts = of(true);
  return { appPorts: of(false), ...(udpPorts.length === 0 ? {} : { udpPorts }) };
}

/** Undefined: not on this host. */
function ownerOf(selector: ProcessSelector, owners: HostOwners): Owner | undefined {
  if (selector.is === "user") {
    const uid = owners.uidOf(selector.user);
    return uid === undefined ? undefined : { is: "uid", uid };
  }
  if (selector.is !== "slice") return selector;
  const state = owners.sliceOf(selector.slice);
  if (state.is === "absent") return undefined;
  return state.is === "here" ? { ...selector, cgroup: state.cgroup } : selector;
}

const selectorText = (selector: ProcessSelector): string =>
  selector.is === "user"
    ? `user ${selector.user}`
    : selector.is === "slice"
      ? `slice ${selector.slice}`
      : "";

const keyOf = ([address, port, protocol = "tcp"]: AddressPort): string =>
  `${address} ${protocol} ${port}`;
const uniquePairs = (pairs: readonly AddressPort[]): readonly AddressPort[] => [
  ...new Map(pairs.map((pair) => [keyOf(pair), pair])).values(),
];

/** How often it is looked whether a user or a slice came, went or was made anew. */
const LOOK_EVERY_MS = 2_000;

export interface RedirectKeeperDeps {
  readonly runner: Runner;
  readonly owners: HostOwners;
  readonly timers: Timers;
  readonly log: Log;
}

export class RedirectKeeper {
  readonly #settings: RedirectSettings;
  readonly #deps: RedirectKeeperDeps;
  readonly #runner: Runner;
  #look: Timer | undefined;
  /** What the owners of the last attempt were, as text. */
  #owners = "";
  #backend: RedirectPlan["backend"] | undefined;
  #applied: RedirectPlan | undefined;
  /** One change at a time: the kernel's tools would wait for each other's locks anyway. */
  #queue: Promise<unknown> = Promise.resolve();
  problem: string | undefined;
  /** See ResolvedInput. */
  missing: readonly string[] = [];

  constructor(settings: RedirectSettings, deps: RedirectKeeperDeps) {
    this.#settings = settings;
    this.#deps = deps;
    this.#runner = deps.runner;
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
    this.stop();
    const result = await this.#apply(snapshot);
    this.problem = result.ok ? undefined : result.error;
    // Uids and gids as numbers are never missing, nor do they change.
    const canChange = snapshot.workloads.some(
      ({ selector: { is } }) => is === "user" || is === "slice",
    );
    if (canChange) this.#lookSoon(snapshot);
    return result;
  }

  /** Rules stay as they are; nobody looks any more. */
  stop(): void {
    this.#look?.cancel();
  }

  #lookSoon(snapshot: Snapshot): void {
    this.#look = this.#deps.timers.after(LOOK_EVERY_MS, () => {
      if (ownersText(snapshot, this.#deps.owners) === this.#owners) this.#lookSoon(snapshot);
      else void this.#followChange(snapshot);
    });
  }

  async #followChange(snapshot: Snapshot): Promise<void> {
    const { log } = this.#deps;
    const done = await this.follow(snapshot);
    if (!done.ok) log.error("the redirect is not as it should be", { reason: done.error });
    else log.info("a workload's user or slice came or went", { missing: this.missing });
  }

  async #apply(snapshot: Snapshot): Promise<Result<void, string>> {
    const backend = await this.#chooseBackend();
    if (!backend.ok) return backend;
    this.#owners = ownersText(snapshot, this.#deps.owners);
    const resolved = redirectInputOf(snapshot, this.#settings, backend.value, this.#deps.owners);
    this.missing = resolved.missing;
    const plan = planRedirect(resolved.input);
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

const ownersText = (snapshot: Snapshot, owners: HostOwners): string =>
  JSON.stringify(snapshot.workloads.map(({ selector }) => ownerOf(selector, owners) ?? null));

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
