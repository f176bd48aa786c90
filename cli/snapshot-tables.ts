// The snapshot as people read it; see agent/policy/snapshot.ts.
import type { LookedUpName } from "../agent/api/admin.ts";
import type { Authorization, AuthorizationRule } from "../agent/policy/authorization-rules.ts";
import type {
  Destination,
  HttpMatch,
  HttpRoute,
  LocalWorkload,
  RateLimit,
  Snapshot,
  StringMatch,
} from "../agent/policy/snapshot.ts";
import { shortDuration, type Table } from "./output.ts";

export function servicesTable({ services }: Snapshot): Table {
  return {
    columns: ["service", "virtual ip", "ports", "names"],
    rows: services.map((service) => [
      service.host,
      [service.vip4, service.vip6].filter((vip) => vip !== undefined).join(" ") || "-",
      service.ports.map(({ port, protocol }) => `${port}/${protocol}`).join(" "),
      service.names.slice(1).join(" "),
    ]),
    empty: "no services: apply a Workload or a ServiceEntry",
  };
}

export function routesTable(snapshot: Snapshot): Table {
  const rows = snapshot.services.flatMap((service) =>
    service.ports.flatMap((port) => [
      ...(port.protocol === "tcp" ? [] : port.httpRoutes).map((route) => [
        `${service.host}:${port.port}`,
        route.name,
        route.matches.map(matchText).join(" or ") || "everything",
        actionText(route, snapshot),
      ]),
      ...(port.protocol === "http" ? [] : port.tcpRoutes).map((route) => [
        `${service.host}:${port.port}`,
        route.name,
        "connections",
        destinationsText(route.destinations, snapshot),
      ]),
      ...(port.tlsRoutes ?? []).map((route) => [
        `${service.host}:${port.port}`,
        route.name,
        `sni ${route.matches.flatMap(({ serverNames }) => serverNames ?? []).join(" or ")}`,
        destinationsText(route.destinations, snapshot),
      ]),
    ]),
  );
  return { columns: ["service", "route", "match", "action"], rows, empty: "no routes" };
}

export function endpointsTable(
  { clusters, endpoints }: Snapshot,
  names: readonly LookedUpName[],
): Table {
  const rows = clusters.flatMap((cluster) =>
    cluster.endpoints.length === 0
      ? [[cluster.name, cluster.balancer, noneText(cluster), "", ""]]
      : cluster.endpoints.flatMap((index) => {
          const endpoint = endpoints[index];
          if (endpoint === undefined) return [[cluster.name, cluster.balancer, "?", "", ""]];
          const by = endpoint.mesh === undefined ? "plaintext" : `mTLS ${endpoint.mesh.identity}`;
          const known = names.find(({ name }) => name === endpoint.address);
          return placesOf(endpoint, known).map((place) => [
            cluster.name,
            cluster.balancer,
            place,
            String(endpoint.weight),
            by,
          ]);
        }),
  );
  return {
    columns: ["cluster", "balancer", "endpoint", "weight", "dialled by"],
    rows,
    empty: "no endpoints",
  };
}

/** Itself; where it is a host name, each address that it leads to, and how fresh and whose word that is. */
function placesOf(
  { id, port, lookup }: Snapshot["endpoints"][number],
  known: LookedUpName | undefined,
): string[] {
  if (lookup === undefined) return [id];
  if (known?.isUsed !== true) return [`${id} (not looked up: nobody here uses it)`];
  const { addresses, first, failure, ageSeconds, ttlSeconds, resolver, refused } = known;
  const used = lookup.takes === "all" ? addresses : first === undefined ? [] : [first];
  const answer =
    ageSeconds === undefined
      ? []
      : [
          `${shortDuration(ageSeconds * 1_000)} old, for ${shortDuration((ttlSeconds ?? 0) * 1_000)}, from ${resolver}`,
        ];
  const words = [
    ...answer,
    ...(failure === undefined ? [] : [`${ageSeconds === undefined ? "" : "stale: "}${failure}`]),
    ...(refused.length === 0 ? [] : [`not dialled: ${refused.join(", ")}`]),
  ];
  const of = `${id}: ${words.join("; ") || "being looked up"}`;
  return used.length === 0
    ? [`none (${of})`]
    : used.map((ip) => `${ip.includes(":") ? `[${ip}]` : ip}:${port} (${of})`);
}

const noneText = ({ isOriginalDst }: Snapshot["clusters"][number]): string =>
  isOriginalDst === true ? "where the client was going" : "none";

export function policiesTable({ workloads }: Snapshot): Table {
  return {
    columns: ["workload", "port", "mtls", "policy", "rule"],
    rows: workloads.flatMap(workloadRows),
    empty: "no workload is declared for this host",
  };
}

function workloadRows(workload: LocalWorkload): string[][] {
  const name = `${workload.namespace}/${workload.name}`;
  const ports = workload.ports.map((p) => [name, String(p.appPort), p.mtls, "", ""]);
  const rules = [
    ...authorizationRows(workload.authorization),
    ...(workload.rateLimits ?? []).map((limit) => [limit.name, limitText(limit)]),
  ];
  return [...ports, ...rules.map(([policy = "", text = ""]) => [name, "", "", policy, text])];
}

function authorizationRows({ deny, allow }: Authorization): string[][] {
  if (deny.length + allow.length === 0) return [["none", "everybody may do everything"]];
  const rowsOf = (word: string, policies: Authorization["allow"]): string[][] =>
    policies.flatMap(({ policy, rules }) =>
      rules.length === 0
        ? [[policy, `${word} nobody`]]
        : rules.map((rule) => [policy, `${word} ${ruleText(rule)}`]),
    );
  return [...rowsOf("deny", deny), ...rowsOf("allow", allow)];
}

function limitText({ requests, perMs, burst, to, byIdentity, byHeader }: RateLimit): string {
  const by = [byIdentity ? "identity" : "", byHeader === undefined ? "" : `header ${byHeader}`];
  const parts = [
    `at most ${requests} requests in ${perMs} ms, ${burst} at once`,
    to.length === 0 ? "" : `to ${to.map(fieldsText).join(" or ")}`,
    by.join("") === "" ? "" : `for each ${by.filter((one) => one !== "").join(" and ")}`,
  ];
  return parts.filter((part) => part !== "").join(" ");
}

function ruleText({ from, to, when }: AuthorizationRule): string {
  const parts = [
    from.length === 0 ? "everybody" : `from ${from.map(fieldsText).join(" or ")}`,
    to.length === 0 ? "" : `to ${to.map(fieldsText).join(" or ")}`,
    when.length === 0 ? "" : `when ${when.map(fieldsText).join(" and ")}`,
  ];
  return parts.filter((part) => part !== "").join(" ");
}

/** `principals a, b; methods GET` */
const fieldsText = (match: object): string =>
  Object.entries(match)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name} ${Array.isArray(value) ? value.join(", ") : keyText(value)}`)
    .join("; ");

const keyText = (value: unknown): string =>
  typeof value === "object" && value !== null ? Object.values(value).join(" ") : String(value);

function matchText(match: HttpMatch): string {
  const parts = [
    valueText("uri", match.uri),
    valueText("method", match.method),
    valueText("scheme", match.scheme),
    valueText("authority", match.authority),
    ...(match.headers ?? []).map((h) => valueText(h.name, h.match)),
    ...(match.withoutHeaders ?? []).map((h) => `not ${valueText(h.name, h.match)}`),
    ...(match.queryParams ?? []).map((q) => valueText(`?${q.name}`, q.match)),
    match.port === undefined ? "" : `port ${match.port}`,
    match.sourceLabels === undefined ? "" : `caller ${fieldsText(match.sourceLabels)}`,
    match.sourceNamespace === undefined ? "" : `caller in ${match.sourceNamespace}`,
  ];
  return parts.filter((part) => part !== "").join(", ") || "everything";
}

function valueText(name: string, match: StringMatch | undefined): string {
  if (match === undefined) return "";
  switch (match.is) {
    case "exact":
      return `${name}=${match.value}`;
    case "prefix":
      return `${name}=${match.value}*`;
    case "regex":
      return `${name}~${match.value}`;
    case "present":
      return name;
  }
}

function actionText({ action }: HttpRoute, snapshot: Snapshot): string {
  switch (action.is) {
    case "redirect":
      return `${action.status} to ${action.scheme ?? ""}${action.authority ?? ""}${action.uri ?? ""}`;
    case "direct":
      return `answer ${action.status}`;
    case "forward":
      return destinationsText(action.destinations, snapshot);
  }
}

function destinationsText(destinations: readonly Destination[], { clusters }: Snapshot): string {
  const total = destinations.reduce((sum, d) => sum + d.weight, 0);
  return destinations
    .map(({ cluster, weight }) => {
      const name = cluster === undefined ? "NOWHERE" : (clusters[cluster]?.name ?? "?");
      return destinations.length === 1 ? name : `${percent(weight, total)} ${name}`;
    })
    .join(", ");
}

const percent = (weight: number, total: number): string =>
  `${total === 0 ? 0 : Math.round((weight / total) * 1000) / 10}%`;
