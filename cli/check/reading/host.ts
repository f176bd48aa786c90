// What /proc and /sys say of the machine and of its kernel. See proc(5), and Documentation/networking/nf_conntrack-sysctl of Linux.
import { statfsSync } from "node:fs";
import { availableParallelism, hostname } from "node:os";
import { dirname } from "node:path";
import { namesIn, numberIn, readText } from "./text.ts";

export interface HostFacts {
  readonly name: string;
  /** As the runtime names it: `x64`, `arm64`. */
  readonly architecture: string;
  readonly cores: number;
  readonly memoryBytes: number | undefined;
  readonly memoryFreeBytes: number | undefined;
  /** Of the agent's cgroup; undefined: none, or not known. */
  readonly memoryLimitBytes: number | undefined;
  /** Open files of the whole machine. */
  readonly files: { readonly open: number; readonly max: number } | undefined;
  /** Where the agent's state lies, or will lie. */
  readonly diskFreeBytes: number | undefined;
  /** Network namespaces with a name, as `ip netns` lists them. */
  readonly namespaces: readonly string[];
}

export interface KernelFacts {
  readonly release: string;
  readonly hasIpv6: boolean;
  /** 0: allowed, 1: for a group, 2: for nobody; undefined: this kernel has no such switch. */
  readonly uringDisabled: number | undefined;
  readonly portRange: readonly [first: number, last: number] | undefined;
  /** As written: `15000-15100,15946`. */
  readonly reservedPorts: string;
  readonly synCookies: number | undefined;
  /** Undefined: connections are not tracked yet. */
  readonly conntrack: ConntrackFacts | undefined;
}

export interface ConntrackFacts {
  readonly count: number;
  readonly max: number;
  /** Packets that were dropped, and connections that were forgotten early, for want of room; since boot, all cores together. */
  readonly dropped: number;
  readonly forgotten: number;
}

export function readHost(stateDir: string, agentPid: number | undefined): HostFacts {
  const memory = readText("/proc/meminfo") ?? "";
  const inBytes = (field: string): number | undefined => {
    const kib = numberIn(new RegExp(`^${field}: +([0-9]+) kB$`, "m").exec(memory)?.[1]);
    return kib === undefined ? undefined : kib * 1024;
  };
  const [open, , max] = (readText("/proc/sys/fs/file-nr") ?? "").trim().split(/\s+/).map(Number);
  return {
    name: hostname(),
    architecture: process.arch,
    cores: availableParallelism(),
    memoryBytes: inBytes("MemTotal"),
    memoryFreeBytes: inBytes("MemAvailable"),
    memoryLimitBytes: agentPid === undefined ? undefined : memoryLimitOf(agentPid),
    files: open === undefined || max === undefined ? undefined : { open, max },
    diskFreeBytes: diskFree(stateDir),
    namespaces: namesIn("/run/netns"),
  };
}

/** The nearest limit above the process; cgroup v2 only, where a unit's MemoryMax= stands. */
function memoryLimitOf(pid: number): number | undefined {
  let path = /^0::(\/.*)$/m.exec(readText(`/proc/${pid}/cgroup`) ?? "")?.[1];
  while (path !== undefined && path !== "/") {
    const limit = numberIn(readText(`/sys/fs/cgroup${path}/memory.max`));
    if (limit !== undefined) return limit;
    path = dirname(path);
  }
  return undefined;
}

/** Of the nearest directory that is there. */
function diskFree(directory: string): number | undefined {
  for (let at = directory; ; at = dirname(at)) {
    try {
      const { bavail, bsize } = statfsSync(at);
      return bavail * bsize;
    } catch {
      if (at === dirname(at)) return undefined;
    }
  }
}

const sysctl = (name: string): string | undefined => readText(`/proc/sys/${name}`);

export function readKernel(): KernelFacts {
  const range = (sysctl("net/ipv4/ip_local_port_range") ?? "").trim().split(/\s+/).map(Number);
  const [first, last] = range;
  return {
    release: (readText("/proc/sys/kernel/osrelease") ?? "").trim(),
    hasIpv6: readText("/proc/net/if_inet6") !== undefined,
    uringDisabled: numberIn(sysctl("kernel/io_uring_disabled")),
    portRange: first === undefined || last === undefined ? undefined : [first, last],
    reservedPorts: (sysctl("net/ipv4/ip_local_reserved_ports") ?? "").trim(),
    synCookies: numberIn(sysctl("net/ipv4/tcp_syncookies")),
    conntrack: readConntrack(),
  };
}

function readConntrack(): ConntrackFacts | undefined {
  const count = numberIn(sysctl("net/netfilter/nf_conntrack_count"));
  const max = numberIn(sysctl("net/netfilter/nf_conntrack_max"));
  if (count === undefined || max === undefined) return undefined;
  const [head = "", ...rows] = (readText("/proc/net/stat/nf_conntrack") ?? "").trim().split("\n");
  const columns = head.trim().split(/\s+/);
  const sumOf = (name: string): number => {
    const at = columns.indexOf(name);
    const cells = rows.map((row) => Number.parseInt(row.trim().split(/\s+/)[at] ?? "0", 16));
    return at < 0 ? 0 : cells.reduce((sum, cell) => sum + cell, 0);
  };
  return { count, max, dropped: sumOf("drop"), forgotten: sumOf("early_drop") };
}
