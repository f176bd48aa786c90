// The input that the namespace tests vary.
import type { RedirectInput } from "../../agent/os/redirect/input.ts";
import { planRedirect, type RedirectPlan } from "../../agent/os/redirect/plan.ts";
import { AGENT_UID, HOST } from "./lab.ts";

export const REVIEWS_UID = 54_301;
export const RATINGS_UID = 54_302;
export const STRANGER_UID = 54_399;
export const APP_PORT = 9_080;
export const VIP4 = "240.240.0.1";
export const VIP6 = "2001:2::1";

export const BACKENDS = [
  { name: "nft-backed iptables", backend: "iptables", variant: "nft" },
  { name: "legacy iptables", backend: "iptables", variant: "legacy" },
  { name: "nft", backend: "nft", variant: "default" },
] as const;
export type Backend = (typeof BACKENDS)[number];

export function planned(backend: Backend, changes: Partial<RedirectInput> = {}): RedirectPlan {
  const plan = planRedirect({
    backend: backend.backend,
    variant: backend.variant,
    agentUid: AGENT_UID,
    mode: "declared",
    workloads: [
      {
        name: "default/reviews",
        outboundPort: 15_101,
        owner: { is: "uid", uid: REVIEWS_UID },
        appPorts: [APP_PORT],
      },
      {
        name: "default/ratings",
        outboundPort: 15_102,
        owner: { is: "gid", gid: RATINGS_UID },
        appPorts: [],
      },
    ],
    hostListenerPort: 15_001,
    inboundPort: 15_006,
    meshPort: 15_008,
    dnsPort: 15_053,
    listenerRange: [15_101, 15_199],
    resolvers: [],
    vip4: "240.240.0.0/16",
    vip6: "2001:2::/48",
    endpoints: [[HOST.ip, 7_000]],
    hasIpv6: true,
    exclusions: { uids: [], cidrs: [], ports: [] },
    sshPorts: [],
    ...changes,
  });
  if (!plan.ok) throw new Error(JSON.stringify(plan.error));
  return plan.value;
}
