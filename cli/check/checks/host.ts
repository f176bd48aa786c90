// The machine: who asks, and what an agent would find to live on.
import type { Facts } from "../facts.ts";
import { agentOf } from "../facts.ts";
import { AS_ROOT, type Finding, tellerOf } from "../finding.ts";

const { ok, warning, error } = tellerOf("host");

/** An agent with one thread a core takes 60 to 130 MB under load (docs/benchmarks.md). */
export const MEMORY_MIN_BYTES = 268_435_456;
/** Sources, compiled tables, drafts of both. */
export const DISK_MIN_BYTES = 67_108_864;
/** Each proxied connection takes two. */
export const OPEN_FILES_MIN = 65_536;
const FILES_SHARE_MAX = 0.9;
const ARCHITECTURES = ["x64", "arm64"];

const mb = (bytes: number): string => `${Math.round(bytes / 1_048_576)} MB`;

export function checkHost(facts: Facts): readonly Finding[] {
  const { host, isRoot } = facts;
  return [
    isRoot
      ? ok("root", "run as root: everything could be looked at")
      : warning(
          "root",
          "this user may not look at everything: what is missing is told below",
          AS_ROOT.next,
        ),
    ...architecture(facts),
    ...memory(facts),
    ...openFiles(facts),
    host.diskFreeBytes === undefined || host.diskFreeBytes >= DISK_MIN_BYTES
      ? ok(
          "disk",
          host.diskFreeBytes === undefined
            ? "no figure for the disk"
            : `${mb(host.diskFreeBytes)} free for the agent's state`,
        )
      : error(
          "disk",
          `only ${mb(host.diskFreeBytes)} are free where ${facts.options.stateDir} lies: a new version or certificate may not reach the disk`,
          `free some space: df -h ${facts.options.stateDir}`,
        ),
  ];
}

function architecture({ host }: Facts): readonly Finding[] {
  const cores = `${host.cores} ${host.cores === 1 ? "core" : "cores"}`;
  return ARCHITECTURES.includes(host.architecture)
    ? [ok("architecture", `${host.architecture}, ${cores}`)]
    : [
        error(
          "architecture",
          `${host.architecture} is no architecture this program is made for`,
          `use a host of ${ARCHITECTURES.join(" or ")}`,
        ),
      ];
}

function memory({ host }: Facts): readonly Finding[] {
  const { memoryFreeBytes: free, memoryLimitBytes: limit, memoryBytes = 0 } = host;
  const findings: Finding[] = [];
  if (limit !== undefined && limit < MEMORY_MIN_BYTES)
    findings.push(
      warning(
        "memory-limit",
        `the agent's cgroup may use ${mb(limit)}: under load it is ended by the kernel`,
        `systemctl set-property ironmesh-agent.service MemoryMax=${MEMORY_MIN_BYTES / 1_048_576}M`,
      ),
    );
  if (free !== undefined && free < MEMORY_MIN_BYTES)
    findings.push(
      warning(
        "memory",
        `only ${mb(free)} of memory are left`,
        "ps -eo rss,pid,comm --sort=-rss | head",
      ),
    );
  return findings.length > 0
    ? findings
    : [ok("memory", `${mb(free ?? 0)} of ${mb(memoryBytes)} of memory are free`)];
}

function openFiles(facts: Facts): readonly Finding[] {
  const { files } = facts.host;
  const own = agentOf(facts)?.openFilesMax;
  if (own !== undefined && own < OPEN_FILES_MIN)
    return [
      warning(
        "open-files",
        `the agent may open ${own} files: about ${Math.floor(own / 2)} connections at once`,
        "start it with more: `LimitNOFILE=1048576` in its unit, or `ulimit -n 1048576` before `meshctl agent`",
      ),
    ];
  if (files !== undefined && files.open > files.max * FILES_SHARE_MAX)
    return [
      warning(
        "open-files",
        `${files.open} of the ${files.max} files this machine may have open are open`,
        `sysctl -w fs.file-max=${files.max * 2}`,
      ),
    ];
  return [
    ok(
      "open-files",
      own === undefined
        ? "enough files may be opened"
        : `the agent may open ${own === Number.POSITIVE_INFINITY ? "any number of" : own} files`,
    ),
  ];
}
