// What the redirect is asked to do, and the refusals: everything that reaches a firewall's command text is checked here, once.
import { ipFamily } from "../../base/ip-text.ts";
import type { Problem } from "../../base/result.ts";

export type Owner =
  | { readonly is: "uid"; readonly uid: number }
  | { readonly is: "gid"; readonly gid: number }
  /** A systemd slice, which stays when a unit restarts (its own cgroup does not, and a rule would miss the new one). */
  | {
      readonly is: "slice";
      readonly slice: string;
      /** Its cgroup's number when it was last looked at, where that is known. */
      readonly cgroup?: number;
    };

export interface RedirectWorkload {
  /** For comments and messages. */
  readonly name: string;
  /** Its own outbound listener. */
  readonly outboundPort: number;
  /** Undefined: this host does not have it yet. Nobody is it then; what comes to its ports is redirected all the same. */
  readonly owner: Owner | undefined;
  /** Where its apps listen. */
  readonly appPorts: readonly number[];
  /** The same for datagrams. */
  readonly udpPorts?: readonly number[] | undefined;
}

/** Of TCP where nothing else is said. */
export type AddressPort = readonly [address: string, port: number, protocol?: "tcp" | "udp"];

/** Only `all` mode has exclusions; virtual IPs, mesh endpoints and workloads' own ports are redirected whatever they say. */
export interface Exclusions {
  readonly uids: readonly number[];
  readonly cidrs: readonly string[];
  /** Destination ports. */
  readonly ports: readonly number[];
}

export interface RedirectInput {
  readonly backend: "iptables" | "nft";
  /** `default`: whatever `iptables` means on this host. */
  readonly variant?: "default" | "nft" | "legacy";
  readonly agentUid: number;
  readonly mode: "declared" | "all";
  readonly workloads: readonly RedirectWorkload[];
  /** Outbound listener of everybody who is no workload. */
  readonly hostListenerPort: number;
  readonly inboundPort: number;
  readonly meshPort: number;
  readonly dnsPort: number;
  /** First and last port that may ever be a workload's outbound listener. */
  readonly listenerRange: readonly [first: number, last: number];
  /** Resolvers of resolv.conf whose port 53 is captured; empty: no DNS capture. */
  readonly resolvers: readonly string[];
  readonly vip4: string;
  readonly vip6: string;
  readonly endpoints: readonly AddressPort[];
  readonly hasIpv6: boolean;
  readonly exclusions: Exclusions;
  /** Server ports of SSH sessions that are open now: never redirected, whatever the rest says. */
  readonly sshPorts: readonly number[];
}

/** More workloads than listener ports could not be told apart. */
const WORKLOADS_MAX = 99;
/** Elements of the kernel sets; also their `maxelem`. */
export const ENDPOINTS_MAX = 65_536;
const RESOLVERS_MAX = 8;

export function checkInput(input: RedirectInput): Problem[] {
  return [
    ...checkAgent(input),
    ...checkWorkloads(input),
    ...input.resolvers.flatMap((resolver, i) => checkResolver(resolver, `resolvers[${i}]`)),
    ...checkAddresses(input),
    ...checkExclusions(input),
    ...checkBounds(input),
  ];
}

const problem = (path: string, reason: string): Problem => ({ path, reason, severity: "error" });
const isPort = (port: number): boolean => Number.isInteger(port) && port > 0 && port < 65_536;
const isId = (id: number): boolean => Number.isInteger(id) && id >= 0 && id < 0xffff_ffff;

export function isCidr(text: string): boolean {
  const [address = "", bits, ...more] = text.split("/");
  const family = ipFamily(address);
  if (family === 0 || more.length > 0 || address.includes("%")) return false;
  return (
    bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (family === 4 ? 32 : 128))
  );
}

function checkAgent(input: RedirectInput): Problem[] {
  const problems: Problem[] = [];
  if (!isId(input.agentUid) || input.agentUid === 0) {
    problems.push(
      problem(
        "agentUid",
        `the agent's uid is ${input.agentUid}: its traffic is exempt by uid, so run it as a user of its own, not as root`,
      ),
    );
  }
  const [first, last] = input.listenerRange;
  const ports = {
    hostListenerPort: input.hostListenerPort,
    inboundPort: input.inboundPort,
    meshPort: input.meshPort,
    dnsPort: input.dnsPort,
  };
  for (const [name, port] of Object.entries({
    ...ports,
    "listenerRange[0]": first,
    "listenerRange[1]": last,
  })) {
    if (!isPort(port)) problems.push(problem(name, `${port} is no port: 1 to 65535`));
  }
  for (const port of input.sshPorts) {
    if (!isPort(port)) problems.push(problem("sshPorts", `${port} is no port: 1 to 65535`));
  }
  return problems;
}

function checkWorkloads(input: RedirectInput): Problem[] {
  const problems: Problem[] = [];
  const owners = new Map<string, string>();
  const listeners = new Map<number, string>();
  const own = new Set([input.hostListenerPort, input.inboundPort, input.meshPort, input.dnsPort]);
  const [first, last] = input.listenerRange;
  input.workloads.forEach((workload, i) => {
    const at = `workloads[${i}]`;
    if (!/^[A-Za-z0-9._/-]{1,128}$/.test(workload.name)) {
      problems.push(
        problem(`${at}.name`, "a workload's name is letters, digits, dots, dashes and slashes"),
      );
    }
    problems.push(...ownerProblems(workload, at, owners, input.agentUid));
    const rival = listeners.get(workload.outboundPort);
    if (rival !== undefined || !(workload.outboundPort >= first && workload.outboundPort <= last)) {
      problems.push(
        problem(
          `${at}.outboundPort`,
          `${workload.outboundPort} must be a port of its own within ${first}-${last}`,
        ),
      );
    }
    listeners.set(workload.outboundPort, workload.name);
    for (const port of [...workload.appPorts, ...(workload.udpPorts ?? [])]) {
      const refusal = checkAppPort(port, own, input);
      if (refusal !== undefined)
        problems.push(problem(`${at}.appPorts`, `${workload.name}: ${refusal}`));
    }
  });
  return problems;
}

function ownerProblems(
  { name, owner }: RedirectWorkload,
  at: string,
  owners: Map<string, string>,
  agentUid: number,
): readonly Problem[] {
  if (owner === undefined) return [];
  const refusal = checkOwner(owner, agentUid);
  const key = ownerText(owner);
  const twin = owners.get(key);
  owners.set(key, name);
  return [
    ...(refusal === undefined ? [] : [problem(`${at}.owner`, `${name}: ${refusal}`)]),
    ...(twin === undefined
      ? []
      : [
          problem(
            `${at}.owner`,
            `${name} and ${twin} are both ${key}: the kernel could not tell them apart, give each its own user`,
          ),
        ]),
  ];
}

export const ownerText = (owner: Owner): string =>
  owner.is === "uid"
    ? `uid ${owner.uid}`
    : owner.is === "gid"
      ? `gid ${owner.gid}`
      : `slice ${owner.slice}`;

function checkOwner(owner: Owner, agentUid: number): string | undefined {
  if (owner.is === "slice") {
    return /^[A-Za-z0-9_.-]{1,120}\.slice$/.test(owner.slice) && !owner.slice.startsWith("-")
      ? undefined
      : `"${owner.slice}" is no slice: name a systemd slice such as reviews.slice`;
  }
  const id = owner.is === "uid" ? owner.uid : owner.gid;
  if (!isId(id)) return `${id} is no ${owner.is}`;
  if (owner.is === "uid" && id === agentUid)
    return `uid ${id} is the agent's own, whose traffic is never redirected`;
  return undefined;
}

function checkAppPort(
  port: number,
  own: ReadonlySet<number>,
  input: RedirectInput,
): string | undefined {
  const [first, last] = input.listenerRange;
  if (!isPort(port)) return `${port} is no port: 1 to 65535`;
  if (own.has(port) || (port >= first && port <= last))
    return `port ${port} is one of the agent's own ports`;
  if (input.sshPorts.includes(port))
    return `port ${port} carries your SSH session: a mesh service there could lock you out`;
  return undefined;
}

/** Why these resolvers cannot be captured, before any socket is opened for them; undefined: they can. */
export const refuseResolvers = (resolvers: readonly string[]): string | undefined =>
  resolvers.flatMap((resolver) => checkResolver(resolver, "resolvers"))[0]?.reason;

function checkResolver(resolver: string, path: string): Problem[] {
  const family = ipFamily(resolver);
  if (family === 0 || resolver.includes("%")) {
    return [
      problem(
        path,
        `"${resolver}" is no address the redirect can match; link-local resolvers with a zone are not supported`,
      ),
    ];
  }
  if (!resolver.startsWith("127.") && resolver !== "::1") return [];
  const what = resolver.startsWith("127.0.0.5") ? "systemd-resolved" : "a resolver on this host";
  return [
    problem(
      path,
      `resolv.conf names ${resolver} (${what}), whose port the agent cannot answer on yet: run with --no-dns and reach services by their virtual IPs, or name the upstream resolvers in resolv.conf`,
    ),
  ];
}

function checkAddresses(input: RedirectInput): Problem[] {
  const problems: Problem[] = [];
  if (!isCidr(input.vip4) || input.vip4.includes(":"))
    problems.push(problem("vip4", `"${input.vip4}" is no IPv4 range`));
  if (!isCidr(input.vip6) || !input.vip6.includes(":"))
    problems.push(problem("vip6", `"${input.vip6}" is no IPv6 range`));
  for (const [address, port] of input.endpoints) {
    if (ipFamily(address) === 0 || address.includes("%") || !isPort(port)) {
      problems.push(problem("endpoints", `"${address}" port ${port} is no endpoint`));
    }
  }
  return problems;
}

function checkExclusions({ mode, exclusions }: RedirectInput): Problem[] {
  const { uids, cidrs, ports } = exclusions;
  const cannot =
    "exclusions mean something in mode `all` only: `declared` touches nothing undeclared";
  if (mode === "declared" && uids.length + cidrs.length + ports.length > 0) {
    return [problem("exclusions", cannot)];
  }
  return [
    ...cidrs
      .filter((cidr) => !isCidr(cidr))
      .map((cidr) => problem("exclusions.cidrs", `"${cidr}" is no address range`)),
    ...ports
      .filter((port) => !isPort(port))
      .map((port) => problem("exclusions.ports", `${port} is no port: 1 to 65535`)),
    ...uids
      .filter((uid) => !isId(uid))
      .map((uid) => problem("exclusions.uids", `${uid} is no uid`)),
  ];
}

function checkBounds(input: RedirectInput): Problem[] {
  const problems: Problem[] = [];
  if (input.workloads.length > WORKLOADS_MAX)
    problems.push(problem("workloads", `more than ${WORKLOADS_MAX} workloads on one host`));
  if (input.endpoints.length > ENDPOINTS_MAX)
    problems.push(problem("endpoints", `more than ${ENDPOINTS_MAX} endpoints`));
  if (input.resolvers.length > RESOLVERS_MAX)
    problems.push(problem("resolvers", `more than ${RESOLVERS_MAX} resolvers`));
  return problems;
}
