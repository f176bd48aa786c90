// Whether this host's kernel and programs can do what the redirect needs, known before a host joins: a plan with one of everything
// is applied in an empty network namespace and compared there.
import { ok, type Result } from "../base/result.ts";
import { applyRedirect, chooseBackend, redirectStatus } from "../os/redirect/apply.ts";
import type { EmptyNetwork } from "../os/redirect/empty-network.ts";
import { planRedirect } from "../os/redirect/plan.ts";
import type { Runner } from "../os/redirect/runner.ts";
import { OUTBOUND_PORT_FIRST, OUTBOUND_PORT_LAST } from "../policy/books.ts";
import { type RedirectSettings, VIP4_RANGE, VIP6_RANGE } from "./redirect-keeper.ts";

export type TrialOutcome =
  | { readonly is: "works"; readonly backend: string }
  | { readonly is: "fails"; readonly reason: string }
  | { readonly is: "not_tried"; readonly reason: string };

export interface TrialSettings {
  readonly backend: RedirectSettings["backend"];
  readonly mode: RedirectSettings["mode"];
  readonly dns: boolean;
  readonly hasIpv6: boolean;
}

/** Of documentation's own blocks (RFC 5737, RFC 3849): nobody is there. */
const ENDPOINTS = [
  ["192.0.2.1", 80],
  ["2001:db8::1", 80],
] as const;
const RESOLVERS = ["192.0.2.53", "2001:db8::53"];
const AGENT_UID = 65_533;
const APP_UID = 65_532;

export async function tryRedirect(
  settings: TrialSettings,
  openNetwork: () => Promise<Result<EmptyNetwork, string>>,
): Promise<TrialOutcome> {
  const network = await openNetwork();
  if (!network.ok) return { is: "not_tried", reason: network.error };
  try {
    const tried = await tryIn(network.value.runner, settings);
    return tried.ok ? { is: "works", backend: tried.value } : { is: "fails", reason: tried.error };
  } finally {
    network.value.close();
  }
}

async function tryIn(
  runner: Runner,
  { backend: wanted, mode, dns, hasIpv6 }: TrialSettings,
): Promise<Result<string, string>> {
  // Local routes need it.
  await runner.run(["ip", "link", "set", "lo", "up"]);
  const backend = wanted === "auto" ? await chooseBackend(runner) : ok(wanted);
  if (!backend.ok) return backend;
  const plan = planRedirect({
    ...{ backend: backend.value, mode, hasIpv6, agentUid: AGENT_UID },
    workloads: [
      {
        name: "trial/app",
        outboundPort: OUTBOUND_PORT_FIRST,
        owner: { is: "uid", uid: APP_UID },
        appPorts: [8080],
      },
    ],
    ...{ hostListenerPort: 15_001, inboundPort: 15_006, meshPort: 15_008, dnsPort: 15_053 },
    listenerRange: [OUTBOUND_PORT_FIRST, OUTBOUND_PORT_LAST],
    resolvers: dns ? RESOLVERS : [],
    ...{ vip4: VIP4_RANGE, vip6: VIP6_RANGE, endpoints: ENDPOINTS, sshPorts: [22] },
    exclusions: { uids: [], cidrs: [], ports: [] },
  });
  if (!plan.ok) return { ok: false, error: plan.error.map((p) => p.reason).join("; ") };
  const applied = await applyRedirect(plan.value, runner);
  if (!applied.ok) return applied;
  const different = await redirectStatus(plan.value, runner);
  if (!different.ok) return different;
  if (different.value.length === 0) return ok(backend.value);
  return { ok: false, error: `the kernel took it and holds something else: ${different.value[0]}` };
}
