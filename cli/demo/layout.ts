// The machines of the demo, as data: five hosts behind a router, what runs on each and under which uid. Everything the demo
// makes is derived from here. Namespaces have no link to the machine's own network, so these addresses can collide with nothing.
import { existsSync } from "node:fs";

export interface DemoHost {
  readonly name: string;
  /** Third part of its IPv4 network and second of its IPv6 network: 10.77.N.0/24, fd77:N::/64. */
  readonly network: number;
  readonly programs: readonly ProgramName[];
}

/** The unmodified programs of the bookstore, and the visitor who makes the load. */
export type ProgramName =
  | "productpage"
  | "details"
  | "ratings"
  | "reviews-v1"
  | "reviews-v2"
  | "reviews-v3"
  | "echo"
  | "visitor";

/** Numbers without a name in /etc/passwd, high enough to belong to nobody. */
export const UID = {
  agent: 62000,
  server: 62010,
  consul: 62011,
  productpage: 62001,
  details: 62002,
  ratings: 62003,
  "reviews-v1": 62004,
  "reviews-v2": 62005,
  "reviews-v3": 62006,
  echo: 62007,
  visitor: 62008,
  /** Runs the forwarders and the router's resolver: a process of no workload. */
  bystander: 62020,
  /** What nobody declared: another user on a host, who must be nobody else. */
  stranger: 62030,
} as const;

export const HOSTS: readonly DemoHost[] = [
  { name: "web", network: 1, programs: ["productpage"] },
  { name: "stock", network: 2, programs: ["details", "ratings"] },
  { name: "north", network: 3, programs: ["reviews-v1", "echo"] },
  { name: "south", network: 4, programs: ["reviews-v2", "ratings"] },
  { name: "east", network: 5, programs: ["reviews-v3", "visitor"] },
];
/** The host that also runs the config server. */
export const SERVER_HOST = "east";
export const HTTP_PORT = 9080;
export const ECHO_PORT = 9000;

/** Answered by the router's resolver, and served there by a web server that knows nothing of a mesh. */
export const ORDINARY_NAME = "www.example.test";

/** Given to reviews' host while its agent runs: an address that no snapshot names. */
export const LATE_ADDRESS = "10.99.0.1";

export const PREFIX = "im-demo-";
export const ROUTER = `${PREFIX}router`;
export const RUN_DIRECTORY = "/run/ironmesh-demo";

/** A kernel without IPv6 has no such file; then the hosts have IPv4 only. */
export const hasIpv6 = (): boolean => existsSync("/proc/net/if_inet6");
export const namespaceOf = (host: DemoHost): string => `${PREFIX}${host.name}`;
export const addressOf = (host: DemoHost): string => `10.77.${host.network}.10`;
export const address6Of = (host: DemoHost): string => `fd77:${host.network}::10`;
export const gatewayOf = (host: DemoHost): string => `10.77.${host.network}.1`;
export const gateway6Of = (host: DemoHost): string => `fd77:${host.network}::1`;

export function hostNamed(name: string): DemoHost {
  const host = HOSTS.find((one) => one.name === name);
  if (host === undefined) throw new Error(`the demo has no host ${name}`);
  return host;
}
/** The first, of a program that runs on several. */
export function hostOf(program: ProgramName): DemoHost {
  const host = HOSTS.find((one) => one.programs.includes(program));
  if (host === undefined) throw new Error(`no host of the demo runs ${program}`);
  return host;
}
