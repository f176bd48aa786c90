// Names of services: what a host in a rule means, what DNS answers to, and what a service is called on the mesh wire.
import { isPublicTopLevel } from "./public-top-level.ts";

interface Named {
  readonly host: string;
  readonly name: string;
  readonly namespace: string;
}

export const meshHost = (name: string, namespace: string): string => `${name}.${namespace}.mesh`;

const LABEL = /^[a-z0-9-]{1,63}$/;

/** The service's part of the SNI (agent/api/mesh-wire.ts). A ServiceEntry's host has dots, which become dashes. */
export const wireName = ({ name, host }: Pick<Named, "name" | "host">): string =>
  LABEL.test(name)
    ? name
    : host
        .toLowerCase()
        .replace(/[^a-z0-9-]/g, "-")
        .slice(0, 63);

export const isMeshHost = ({ host, name, namespace }: Named): boolean =>
  host === meshHost(name, namespace);

/** Namespaces whose services a bare name means, first come first served: `default`, then the others by name. */
const byPrecedence = (namespaces: Iterable<string>): string[] =>
  [...new Set(namespaces)].sort((a, b) => {
    if (a === "default" || b === "default") return a === b ? 0 : a === "default" ? -1 : 1;
    return a < b ? -1 : 1;
  });

/** All DNS names of each service, canonical first. Bare names mean services of namespaces that run here; `NAME.service.consul`
 *  has no namespace either, and means those first, then any. */
export function dnsNames(
  services: readonly Named[],
  localNamespaces: Iterable<string>,
): readonly (readonly string[])[] {
  const local = byPrecedence(["default", ...localNamespaces]);
  const all = byPrecedence(services.map((s) => s.namespace));
  const others = all.filter((namespace) => !local.includes(namespace));
  const rank = new Map([...local, ...others].map((namespace, i) => [namespace, i]));
  const rankOf = (namespace: string): number => rank.get(namespace) ?? rank.size;
  const first = new Map<string, Named>();
  for (const service of services) {
    if (!isMeshHost(service) || isPublicTopLevel(service.namespace)) continue;
    const known = first.get(service.name);
    if (known === undefined || rankOf(service.namespace) < rankOf(known.namespace))
      first.set(service.name, service);
  }
  const hosts = new Set(services.map((s) => s.host));
  return services.map((service) => {
    const { host, name, namespace } = service;
    if (!isMeshHost(service) || isPublicTopLevel(namespace)) return [host];
    const names = [host, `${name}.${namespace}`, `${host.slice(0, -4)}svc.cluster.local`];
    if (first.get(name) === service) {
      names.push(`${name}.service.consul`);
      if (rankOf(namespace) < local.length) names.push(name);
    }
    // A ServiceEntry may spell out what would be an alias of ours: what is written wins.
    return names.filter((alias) => alias === host || !hosts.has(alias));
  });
}

/** What hosts in rules mean. */
export class HostBook {
  readonly #byHost: ReadonlyMap<string, number>;
  readonly #namespacesOf = new Map<string, string[]>();

  constructor(services: readonly Named[]) {
    this.#byHost = new Map(services.map(({ host }, i) => [host, i]));
    for (const service of services) {
      if (!isMeshHost(service)) continue;
      const known = this.#namespacesOf.get(service.name);
      if (known === undefined) this.#namespacesOf.set(service.name, [service.namespace]);
      else known.push(service.namespace);
    }
  }

  /** Index of the service that a rule of this namespace means by the host. */
  find(host: string, namespace: string): number | undefined {
    return this.#byHost.get(this.resolve(host, namespace));
  }

  /** The canonical host, whether or not there is such a service. Short names are of the rule's own namespace, as in Istio;
   *  wildcards keep their `*`. */
  resolve(written: string, namespace: string): string {
    const host = written.toLowerCase().replace(/\.$/, "");
    if (!host.includes(".") && host !== "*") {
      const own = meshHost(host, namespace);
      return !this.#byHost.has(own) && this.#byHost.has(host) ? host : own;
    }
    if (this.#byHost.has(host)) return host;
    const cluster = /^(.+)\.svc(?:\.cluster\.local)?$/.exec(host);
    if (cluster !== null) return `${cluster[1]}.mesh`;
    const consul = /^([^.]+)\.service\.consul$/.exec(host);
    if (consul !== null) return this.#consulHost(consul[1] ?? "", namespace);
    return this.#byHost.has(`${host}.mesh`) ? `${host}.mesh` : host;
  }

  #consulHost(name: string, namespace: string): string {
    const known = this.#namespacesOf.get(name) ?? [];
    const found = known.includes(namespace) ? namespace : byPrecedence(known)[0];
    return meshHost(name, found ?? namespace);
  }
}

/** `*.default.mesh` and `*` hold for every host that ends so. Both sides canonical. */
export const wildcardHolds = (pattern: string, host: string): boolean =>
  pattern === "*" || (pattern.startsWith("*.") && host.endsWith(pattern.slice(1)));
