// One line about a resource, for tables.
import {
  isKind,
  readAuthorizationPolicy,
  readDestinationRule,
  readPeerAuthentication,
  readRateLimit,
  readServiceEntry,
  readVirtualService,
  readWorkload,
  readWorkloadEntry,
} from "../agent/api/resource.ts";
import type { ResourceDocument } from "../agent/api/session.ts";

export function summaryOf(doc: ResourceDocument): string {
  if (!isKind(doc.kind)) return "";
  switch (doc.kind) {
    case "VirtualService": {
      const { hosts, http = [], tcp = [] } = readVirtualService(doc);
      return `${hosts.join(", ")}: ${count(http.length + tcp.length, "rule")}`;
    }
    case "DestinationRule": {
      const { host, subsets = [] } = readDestinationRule(doc);
      return `${host}${subsets.length > 0 ? `: subsets ${subsets.map((s) => s.name).join(", ")}` : ""}`;
    }
    case "ServiceEntry": {
      const { hosts, ports, resolution } = readServiceEntry(doc);
      return `${hosts.join(", ")}: ${ports.map((p) => p.number).join(", ")} (${resolution ?? "NONE"})`;
    }
    case "WorkloadEntry":
      return readWorkloadEntry(doc).address;
    case "PeerAuthentication": {
      const { selector, mtls } = readPeerAuthentication(doc);
      return `${mtls?.mode ?? "UNSET"} for ${selected(selector?.matchLabels)}`;
    }
    case "AuthorizationPolicy": {
      const { selector, action = "ALLOW", rules = [] } = readAuthorizationPolicy(doc);
      return `${action} for ${selected(selector?.matchLabels)}: ${count(rules.length, "rule")}`;
    }
    case "RateLimit": {
      const { selector, limits } = readRateLimit(doc);
      const rates = limits.map(({ requests, per = "1s" }) => `${requests}/${per}`);
      return `${rates.join(", ")} for ${selected(selector?.matchLabels)}`;
    }
    case "Workload": {
      const { hosts, serviceAccount, services = [] } = readWorkload(doc);
      const ports = services.flatMap((s) => s.ports.map((p) => `${s.name}:${p.port}`));
      return `${serviceAccount} on ${hosts.join(", ")}${ports.length > 0 ? `: ${ports.join(", ")}` : ""}`;
    }
  }
}

const count = (n: number, word: string): string => `${n} ${word}${n === 1 ? "" : "s"}`;
const selected = (labels: Record<string, string> | undefined): string =>
  Object.entries(labels ?? {})
    .map(([name, value]) => `${name}=${value}`)
    .join(",") || "all workloads";
