// The kernel and its settings.
import type { Facts } from "../facts.ts";
import { agentOf } from "../facts.ts";
import { type Finding, tellerOf } from "../finding.ts";
import { agentPorts } from "./agent-ports.ts";

const { ok, warning, error } = tellerOf("kernel");

/** Oldest kernel that the tests have run on (Debian 12). */
const TESTED = [6, 1] as const;
/** NAT in tables of family inet: Linux 5.2. */
const WORKS = [5, 2] as const;
const PORTS_MIN = 10_000;
const URING_FORBIDDEN = 2;
const ALWAYS_COOKIES = 2;

export function checkKernel(facts: Facts): readonly Finding[] {
  return [...version(facts), ...uring(facts), ...portRange(facts), ...cookies(facts)];
}

const isOlder = ([major, minor]: readonly number[], than: readonly [number, number]): boolean =>
  (major ?? 0) < than[0] || (major === than[0] && (minor ?? 0) < than[1]);

function version({ kernel: { release, hasIpv6 } }: Facts): readonly Finding[] {
  const parts = /^([0-9]+)\.([0-9]+)/.exec(release)?.slice(1).map(Number) ?? [];
  if (isOlder(parts, WORKS))
    return [
      error(
        "version",
        `Linux ${release} lacks what the redirect needs`,
        `boot Linux ${TESTED.join(".")} or later`,
      ),
    ];
  if (isOlder(parts, TESTED))
    return [
      warning(
        "version",
        `Linux ${release} is older than any this program is tested with`,
        `boot Linux ${TESTED.join(".")} or later when you can`,
      ),
    ];
  return [ok("version", `Linux ${release}, ${hasIpv6 ? "with" : "without"} IPv6`)];
}

function uring(facts: Facts): readonly Finding[] {
  const io = agentOf(facts)?.status.io;
  if (facts.options.io === "epoll") return [ok("io_uring", "not wanted (--io epoll)")];
  if (facts.kernel.uringDisabled === URING_FORBIDDEN)
    return [
      warning(
        "io_uring",
        "io_uring is switched off: socket calls are made one by one, which costs a little more CPU and nothing else",
        "sysctl -w kernel.io_uring_disabled=0 where your policy allows it, or --io epoll to be told no more",
      ),
    ];
  if (io === "epoll")
    return [
      ok(
        "io_uring",
        "not to be had for the agent (its unit's filter, or an older kernel): epoll serves",
      ),
    ];
  return [ok("io_uring", io === undefined ? "not forbidden" : "used by the agent")];
}

/** Programs take outgoing ports of this range at random: one of ours, taken while the agent restarts, keeps it from starting. */
function portRange(facts: Facts): readonly Finding[] {
  const { portRange: range, reservedPorts } = facts.kernel;
  if (range === undefined) return [];
  const [first, last] = range;
  const findings: Finding[] = [];
  const ports = [...new Set(agentPorts(facts).map(({ port }) => port))];
  const inDanger = ports.filter(
    (port) => port >= first && port <= last && !isReserved(port, reservedPorts),
  );
  if (inDanger.length > 0) {
    const wanted = [...(reservedPorts === "" ? [] : [reservedPorts]), ...inDanger].join(",");
    findings.push(
      warning(
        "port-range",
        `outgoing connections may take the agent's ports ${inDanger.join(", ")} (ip_local_port_range is ${first} to ${last})`,
        `sysctl -w net.ipv4.ip_local_reserved_ports=${wanted} # and in /etc/sysctl.d`,
      ),
    );
  }
  if (last - first < PORTS_MIN)
    findings.push(
      warning(
        "ports",
        `only ${last - first + 1} ports for outgoing connections, and each call through the mesh needs one towards its endpoint`,
        'sysctl -w net.ipv4.ip_local_port_range="32768 60999" # and in /etc/sysctl.d',
      ),
    );
  return findings.length > 0
    ? findings
    : [ok("port-range", `outgoing ports ${first} to ${last} leave the agent's alone`)];
}

export const isReserved = (port: number, reserved: string): boolean =>
  reserved
    .split(",")
    .map((part) => part.split("-").map(Number))
    .some(([first = -1, last = first]) => port >= first && port <= last);

/** See applyRedirect: a cookie belongs to no socket, so the guard could not tell whose answer it is. */
const cookies = ({ kernel: { synCookies } }: Facts): readonly Finding[] =>
  synCookies === ALWAYS_COOKIES
    ? [
        error(
          "syn-cookies",
          "every connection is answered by a SYN cookie, with which the redirect cannot work",
          "sysctl -w net.ipv4.tcp_syncookies=1 # and in /etc/sysctl.d",
        ),
      ]
    : [];
