// Routes of a service port from the VirtualServices that name its host.
// https://istio.io/latest/docs/reference/config/networking/virtual-service/

import type { HttpMatchSpec } from "../api/http-match.ts";
import { SYSTEM_NAMESPACE } from "../api/spiffe.ts";
import type {
  DestinationSpec,
  HttpRouteSpec,
  TcpRouteSpec,
  TlsRouteSpec,
  VirtualServiceSpec,
} from "../api/virtual-service.ts";
import type { Clusters } from "./clusters.ts";
import { defaultHttpRoute, defaultTcpRoute, NO_HEADERS } from "./default-route.ts";
import { milliseconds } from "./destination-rules.ts";
import { type HostBook, wildcardHolds } from "./hosts.ts";
import {
  compileFault,
  compileHeaders,
  compileMatch,
  compileRedirect,
  compileRetry,
  compileRewrite,
} from "./route-fields.ts";
import type { PortSource, ServiceSource } from "./services.ts";
import type {
  Destination,
  HttpMatch,
  HttpRoute,
  PortView,
  TcpMatch,
  TcpRoute,
} from "./snapshot.ts";
import type { ProblemList, Rule } from "./sources.ts";

type VirtualService = Rule<VirtualServiceSpec>;

interface RoutesDeps {
  readonly services: readonly ServiceSource[];
  readonly hosts: HostBook;
  readonly clusters: Clusters;
  readonly problems: ProblemList;
}

/** For whom a port's routes are made. */
interface Asked {
  readonly port: PortSource;
  readonly clientNamespace: string;
}

export class Routes {
  readonly #exact = new Map<string, VirtualService[]>();
  /** Longest pattern first, so that the most specific host wins. */
  readonly #wildcards: { readonly pattern: string; readonly rules: VirtualService[] }[] = [];
  readonly #deps: RoutesDeps;

  /** The rules come in the order that decides between equals. */
  constructor(rules: readonly VirtualService[], deps: RoutesDeps) {
    this.#deps = deps;
    for (const rule of rules) for (const i of rule.spec.hosts.keys()) this.#add(rule, i);
    this.#wildcards.sort((a, b) => b.pattern.length - a.pattern.length);
  }

  /** Undefined when the port is gone, which cannot be for a port of the service. */
  compilePort(service: number, port: PortSource, clientNamespace: string): PortView | undefined {
    const cluster = this.#deps.clusters.find({
      service,
      port: port.port,
      subset: undefined,
      clientNamespace,
    });
    const source = this.#deps.services[service];
    if (cluster === undefined || source === undefined) return undefined;
    // No VirtualService speaks of datagrams (Istio's do not either).
    if (port.protocol === "udp") return { httpRoutes: [], tcpRoutes: [], cluster };
    const rules = this.#rulesFor(source.host);
    const asked = { port, clientNamespace };
    return {
      httpRoutes: port.protocol === "tcp" ? [] : this.#httpRoutes(rules, asked, cluster),
      tcpRoutes: this.#tcpRoutes(rules, asked, cluster),
      ...(port.isTls === true ? this.#tlsRoutes(rules, asked) : {}),
      cluster,
    };
  }

  #add(rule: VirtualService, at: number): void {
    const { hosts, problems } = this.#deps;
    const host = hosts.resolve(rule.spec.hosts[at] ?? "", rule.namespace);
    if (host.startsWith("*")) {
      const known = this.#wildcards.find(({ pattern }) => pattern === host);
      if (known === undefined) this.#wildcards.push({ pattern: host, rules: [rule] });
      else known.rules.push(rule);
      return;
    }
    this.#tellIfIdle(rule, host, `spec.hosts[${at}]`);
    const known = this.#exact.get(host);
    const first = known?.find(({ spec }) => spec.http !== undefined);
    if (first !== undefined && first !== rule && rule.spec.http !== undefined)
      problems.warn(
        rule.title,
        `spec.hosts[${at}]`,
        `is taken by the http rules of ${first.title}, first by name; these hold only for ports those leave out`,
      );
    if (known === undefined) this.#exact.set(host, [rule]);
    else if (!known.includes(rule)) known.push(rule);
  }

  /** A rule that touches no traffic at all is most likely a mistake. */
  #tellIfIdle({ title, namespace, spec }: VirtualService, host: string, path: string): void {
    const { hosts, services, problems } = this.#deps;
    const found = hosts.find(host, namespace);
    if (found === undefined) {
      problems.warn(title, path, `means ${host}, and there is no such service: nobody can call it`);
      return;
    }
    const ports = services[found]?.ports ?? [];
    const protocols = ports.map((port) => port.protocol);
    if (spec.tls !== undefined && !ports.some(({ isTls }) => isTls))
      problems.warn(
        title,
        path,
        `has \`tls\` rules that never hold: no port of ${host} is of protocol TLS or HTTPS`,
      );
    for (const [is, rules] of [
      ["tcp", spec.http],
      ["http", spec.tcp],
    ] as const)
      if (rules !== undefined && protocols.every((protocol) => [is, "udp"].includes(protocol)))
        problems.warn(
          title,
          path,
          `has rules that never hold: all ports of ${host} are ${[...new Set(protocols)].join(" or ")}`,
        );
  }

  #rulesFor(host: string): readonly VirtualService[] {
    return (
      this.#exact.get(host) ??
      this.#wildcards.find(({ pattern }) => wildcardHolds(pattern, host))?.rules ??
      []
    );
  }

  /** One VirtualService per host and port: the first that has http rules for it. None: as if there were none. */
  #httpRoutes(rules: readonly VirtualService[], asked: Asked, cluster: number): HttpRoute[] {
    for (const rule of rules) {
      const routes = this.#httpRoutesOf(rule, asked);
      if (routes.length > 0) return routes;
    }
    return [defaultHttpRoute(cluster)];
  }

  #httpRoutesOf(rule: VirtualService, asked: Asked): HttpRoute[] {
    const routes = (rule.spec.http ?? []).flatMap((spec, i) => {
      const matches = httpMatchesAt(spec, asked.port.port);
      if (matches.length === 0) return [];
      const action = this.#action(rule, spec, `spec.http[${i}]`, asked);
      const headers = compileHeaders(spec.headers);
      const title = `${rule.namespace}/${rule.name}:${spec.name || i}`;
      return matches.map(({ match, name }) => ({
        name: name ? `${title}.${name}` : title,
        matches: Object.keys(match).length === 0 ? [] : [match],
        action,
        headers,
      }));
    });
    return reachable(routes);
  }

  #action(
    rule: VirtualService,
    spec: HttpRouteSpec,
    path: string,
    asked: Asked,
  ): HttpRoute["action"] {
    if (spec.redirect !== undefined) return compileRedirect(spec.redirect);
    if (spec.directResponse !== undefined) {
      const { status, body } = spec.directResponse;
      return { is: "direct", status, body: body?.string ?? "" };
    }
    for (const kind of ["delay", "abort"] as const)
      if (spec.fault?.[kind] !== undefined && spec.fault[kind].percentage === undefined)
        this.#deps.problems.warn(
          rule.title,
          `${path}.fault.${kind}`,
          "happens to nobody: write `percentage: {value: 100}` for everybody",
        );
    return {
      is: "forward",
      destinations: this.#destinations(rule, spec.route ?? [], `${path}.route`, asked),
      timeoutMs: milliseconds(spec.timeout, undefined),
      retry: compileRetry(spec.retries),
      rewrite: compileRewrite(spec.rewrite),
      fault: compileFault(spec.fault),
    };
  }

  /** The rules of all VirtualServices for the host in turn; what none matches goes to the service itself, as in Istio. */
  #tcpRoutes(rules: readonly VirtualService[], asked: Asked, cluster: number): TcpRoute[] {
    const routes = rules.flatMap((rule) => this.#tcpRoutesOf(rule, asked));
    return reachable([...routes, defaultTcpRoute(cluster)]);
  }

  #tcpRoutesOf(rule: VirtualService, asked: Asked): TcpRoute[] {
    return (rule.spec.tcp ?? []).flatMap((spec, i) => {
      const matches = tcpMatchesAt(spec, asked.port.port);
      if (matches.length === 0) return [];
      const name = `${rule.namespace}/${rule.name}:${i}`;
      const destinations = this.#destinations(rule, spec.route, `spec.tcp[${i}].route`, asked);
      return matches.map((match) => ({
        name,
        matches: Object.keys(match).length === 0 ? [] : [match],
        destinations,
      }));
    });
  }

  /** Absent where no VirtualService has any. Nothing is added to them: what they do not name is refused, as in Istio. */
  #tlsRoutes(rules: readonly VirtualService[], asked: Asked): Pick<PortView, "tlsRoutes"> {
    const routes = rules.flatMap((rule) => this.#tlsRoutesOf(rule, asked));
    return routes.length === 0 ? {} : { tlsRoutes: routes };
  }

  #tlsRoutesOf(rule: VirtualService, asked: Asked): TcpRoute[] {
    return (rule.spec.tls ?? []).flatMap((spec, i) => {
      this.#tellStrangeNames(rule, spec, `spec.tls[${i}]`);
      const matches = spec.match.filter((match) => isForPort(match, asked.port.port));
      if (matches.length === 0) return [];
      const name = `${rule.namespace}/${rule.name}:${i}`;
      const destinations = this.#destinations(rule, spec.route, `spec.tls[${i}].route`, asked);
      return matches.map((match) => ({
        name,
        matches: [{ serverNames: match.sniHosts.map(lowerCase), ...connectionMatch(match) }],
        destinations,
      }));
    });
  }

  /** Istio's rule too: a VirtualService speaks for its own hosts only. Any name of theirs will do. */
  #tellStrangeNames(
    { title, namespace, spec }: VirtualService,
    { match }: TlsRouteSpec,
    path: string,
  ) {
    const { hosts, problems } = this.#deps;
    const own = spec.hosts.map((host) => hosts.resolve(host, namespace));
    match.forEach(({ sniHosts }, i) => {
      sniHosts.forEach((written, j) => {
        const name = hosts.resolve(written, namespace);
        if (own.includes(name) || own.some((host) => wildcardHolds(host, name))) return;
        const at = `${path}.match[${i}].sniHosts[${j}]`;
        problems.error(title, at, `is ${written}, which is within none of this resource's hosts`);
      });
    });
  }

  #destinations(
    rule: VirtualService,
    specs: readonly DestinationOf[],
    path: string,
    asked: Asked,
  ): Destination[] {
    return specs.map((spec, i) => ({
      cluster: this.#cluster(rule, spec.destination, `${path}[${i}].destination`, asked),
      weight: specs.length === 1 ? 100 : (spec.weight ?? 0),
      headers: spec.headers === undefined ? NO_HEADERS : compileHeaders(spec.headers),
    }));
  }

  /** Undefined: nobody to send to (503, NC), told once. */
  #cluster(
    { title, namespace }: VirtualService,
    { host, subset, port }: DestinationSpec,
    path: string,
    { port: called, clientNamespace }: Asked,
  ): number | undefined {
    const { hosts, services, clusters, problems } = this.#deps;
    const service = hosts.find(host, namespace);
    if (service === undefined) {
      const means = hosts.resolve(host, namespace);
      problems.warn(title, `${path}.host`, `means ${means}, and there is no such service`);
      return undefined;
    }
    const ports = services[service]?.ports ?? [];
    const only = ports.length === 1 ? ports[0]?.port : undefined;
    const number = port?.number ?? only ?? called.port;
    const found = clusters.find({ service, port: number, subset, clientNamespace });
    if (found !== undefined) return found;
    if (!ports.some((p) => p.port === number))
      problems.warn(title, `${path}.port`, `is ${number}, which the service does not have`);
    else
      problems.warn(
        title,
        `${path}.subset`,
        `is ${subset}, which no DestinationRule for ${services[service]?.host} declares${forWhom(clientNamespace)}`,
      );
    return undefined;
  }
}

const forWhom = (clientNamespace: string): string =>
  clientNamespace === SYSTEM_NAMESPACE
    ? ""
    : ` for clients in ${clientNamespace}, which has a rule of its own`;

/** Nothing is asked after a route that takes everything. */
function reachable<R extends HttpRoute | TcpRoute>(routes: R[]): R[] {
  const last = routes.findIndex(({ matches }) => matches.length === 0);
  return last < 0 ? routes : routes.slice(0, last + 1);
}

type DestinationOf = {
  readonly destination: DestinationSpec;
  readonly weight?: number | undefined;
  readonly headers?: NonNullable<HttpRouteSpec["route"]>[number]["headers"];
};

type ForMesh = Pick<HttpMatchSpec, "port" | "gateways">;
const isForPort = ({ port, gateways }: ForMesh, called: number): boolean =>
  (port === undefined || port === called) &&
  (gateways === undefined || gateways.length === 0 || gateways.includes("mesh"));

/** Each match is a route of its own (Istio's way too): a prefix rewrite needs to know which prefix it was. */
function httpMatchesAt(
  { match }: HttpRouteSpec,
  port: number,
): { readonly match: HttpMatch; readonly name: string | undefined }[] {
  if (match === undefined || match.length === 0) return [{ match: {}, name: undefined }];
  return match
    .filter((spec) => isForPort(spec, port))
    .map((spec) => ({ match: compileMatch(spec), name: spec.name }));
}

function tcpMatchesAt({ match }: TcpRouteSpec, port: number): TcpMatch[] {
  if (match === undefined || match.length === 0) return [{}];
  return match.filter((spec) => isForPort(spec, port)).map(connectionMatch);
}

const connectionMatch = ({
  destinationSubnets,
  sourceLabels,
  sourceNamespace,
}: Pick<
  NonNullable<TcpRouteSpec["match"]>[number],
  "destinationSubnets" | "sourceLabels" | "sourceNamespace"
>): TcpMatch => ({
  ...(destinationSubnets?.length ? { destinationCidrs: destinationSubnets } : {}),
  ...(sourceLabels === undefined ? {} : { sourceLabels }),
  ...(sourceNamespace ? { sourceNamespace } : {}),
});

const lowerCase = (name: string): string => name.toLowerCase().replace(/\.$/, "");
