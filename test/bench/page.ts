// docs/benchmarks.md: the figures, what they are figures of, and why what is missed is missed.
import { execFileSync } from "node:child_process";
import { loadavg } from "node:os";
import type { Pace } from "./load-cases.ts";
import {
  detailTable,
  machine,
  otherRuntimeTable,
  type Row,
  resultTable,
  verdict,
} from "./table.ts";

interface Measured {
  readonly rows: readonly Row[];
  readonly pace: Pace;
}

const LOAD_BEFORE = loadavg()[0] ?? Number.NaN;

/** `deno`: the same cases, or some of them, under that runtime. */
export function page(rows: readonly Row[], pace: Pace, deno: Measured): string {
  return `# Benchmarks

Written by \`npm run bench\`; do not edit. Date: ${new Date().toISOString().slice(0, 10)}.

${machine()}
- load average when it began: ${LOAD_BEFORE.toFixed(1)} (a quiet machine: below 0.5)
- ${pace.rounds} rounds of ${pace.seconds} s a contender, one after the other in turns, after a round to warm up; medians of the rounds
- clients (wrk, h2load, iperf3) and backends (nginx, iperf3) share one core, the proxies under test have the other; an mTLS pair shares it
- HTTP/2 and gRPC are HTTP/2 on both sides of each proxy, by prior knowledge; nginx serves the pages, a small server of the benchmark's own
  the calls (\`test/bench/grpc-server.ts\`). h2load gives its messages a length, which gRPC's clients do not
- UDP: 16 flows of a client and an echo of the benchmark's own (\`test/bench/datagrams.ts\`, many datagrams a system call), 16 datagrams of each on
  their way; questions and answers are counted. Since 2026-11-27 the client sends by UDP_SEGMENT: sent one by one they cost its core more than they cost a proxy's. nginx relays by its stream module; ours keeps identity, policy and figures of each flow besides
- consul is its own built-in proxy (\`consul connect proxy\`, one for each end of the pair, TLS 1.3 and P-256 by its CA): the same wrk and iperf3 through
  opaque TCP of ours and through it, at most five rounds
- new mTLS connections are opaque TCP, one a request. \`% resumed\` is counted by whoever accepts. For the full handshakes the dialling agent has
  \`--tls-resumption never\` and haproxy's server line \`no-ssl-reuse\`; until 2026-11-26 this row had ours resuming against haproxy's full ones
- hosts are two network namespaces joined by a veth cable; one data thread an agent (\`--workers 1\`)
- Ironmesh as shipped: redirect by iptables, identity by listener, metrics, \`traceparent\` and \`x-request-id\`, default policies
- haproxy and nginx as their users would tune them for this work: keep-alive and connection reuse to the backend, request id, trace
  header and forwarded-for on each request, no access log; the pair with TLS 1.3, P-256 and certificates verified on both ends

## Asked and reached

CPU is the scheduler's count for all threads of the proxies, divided by the requests they served: it does not depend on which side
of the machine was the bottleneck. \`ratio\` is ours over the peer's, of several over the cheapest; \`holds\` says whether \`must\` (yes) or even \`goal\` is reached.

${resultTable(rows)}

${missed(rows)}## Under load

${detailTable(rows)}

${underDeno(rows, deno)}`;
}

/** "deno 2.9.6 (stable, release, x86_64-unknown-linux-gnu)". */
const denoVersion = (): string =>
  execFileSync(process.env["IRONMESH_DENO"] ?? "deno", ["--version"])
    .toString()
    .split("\n")[0]
    ?.replace("deno", "Deno") ?? "";

const underDeno = (rows: readonly Row[], { rows: found, pace }: Measured): string =>
  found.length === 0
    ? ""
    : `## Under Deno

${denoVersion()}: the same sources as a bundle that \`deno run\` runs (\`docs/decisions/0032-deno.md\`): config server, both agents and all commands, after the rest of this
page, beside a haproxy of its own turns. Fewer cases and shorter ones: ${pace.rounds} rounds of ${pace.seconds} s after one to warm up. Nothing is asked of these figures; \`ratio\` is
Deno's over haproxy's, and \`to Bun\` over the executable's above, from another hour of this machine. UDP between mesh hosts and resumption are not there on Deno.

${otherRuntimeTable("Deno", found, rows)}
`;

/** What profiles say about each case, shown only where a figure misses what was asked: `must`, or the goal. */
const REASONS: readonly (readonly [caseBegins: string, reason: string])[] = [
  [
    "HTTP/1.1 one hop",
    `A request is four packets on the host, none to spare, and the kernel's work on them is nearly all: on a fast and quiet machine 12.7 of ours and 11.7 of haproxy's
15 us (2026-11-26, perf). haproxy's own code takes 3.8 us, ours 2.2 with the calls that go to the kernel together (io_uring, decision 12); ours has the redirect's address
translation besides, 0.6 us. The kernel's part of ours is 0.85 of all that haproxy costs: 0.80 would need less of the kernel, and no way to that was found for a proxy over sockets
(record 38 has what was tried beside them). On slow machines, where waking somebody costs tens of microseconds, haproxy pays for each
wake-up while ours gathers them (decision 37): 0.57 to 0.76 in runs of the same day on such ones.`,
  ],
  [
    "mTLS pair, 1 KB, c4",
    `Requests share a few mesh connections, and with them records, packets and calls (decision 13): few callers have little to share. Two thirds of
what four callers cost is the kernel's, most of it switching and waking the other end; wake-ups gather while a thread is busy (decision 37), as far
as nothing waits for it. Calls of the TLS sockets are the runtime's, which makes each by itself.`,
  ],
  [
    "mTLS pair at 1000 requests/s",
    `At this rate nothing gathers: each request wakes each data thread twice, and what runs then finds cold caches. That is 95 to 150 us a request of the
pair's CPU, haproxy's like ours; what agents do without requests is 2 % of a core for both. The two callers' and servers' processes, two agents and
the peers share two cores of a virtual machine, where a wake-up costs tens of microseconds (\`finish_task_switch\` and the sends that wake somebody are half of
a profile); no way to half of haproxy's cost was found. Agents that have just started compile their code on top: about 1 s of CPU each, 0.3 to 0.4 vCPU of
the pair in the first 12 s.`,
  ],
  [
    "TCP relay, small",
    `All but a microsecond is the kernel's, as for HTTP/1.1 above; ours has the redirect's address translation besides.`,
  ],
  [
    "HTTP/2 one hop",
    `The app answers a dozen requests with each of its writes; a nap lets several of those meet in one turn (decision 37). Our own code is 4 us of a request
(\`test/bench/http2-cost.ts\`, decision 33), a third to a half of all.`,
  ],
  [
    "agent at c256",
    `Both directions' buffers of each connection while 256 bodies are under way. Chunks of the TLS sockets, the runtime's, are free at the end of their event
(decision 36).`,
  ],
  [
    "p99",
    `The tail depends on what else ran on the two cores: from run to run haproxy's own p99 moved between 2 and over 30 ms here. Read it with
the machine's load in view. Naps of a busy thread (decision 37) lengthen it by a tenth to a third where nobody else makes anybody wait.`,
  ],
  [
    "agent idle",
    `What is not anonymous is pages of the executable that came back from the page cache as control code ran: one at a time on this kernel, 64 KB at a time before Linux 6.7 (decision 36).`,
  ],
  [
    "each of 5000 idle connections, plain",
    `Stream and connection are two objects, 224 bytes together (test/bench/idle-cost.ts: 0.4 KB of anonymous memory each in a warm thread); the rest is code that became warm, shared by all.`,
  ],
  [
    "each of 5000 idle connections, mTLS",
    `All but the 2 KB of the plain connection beside it is the runtime's TLS socket and its state of a connection with client certificates.`,
  ],
  [
    "new mTLS connections",
    `What resumption spares is the signatures and chains of the two ends. Key exchange, the sockets of three connections a request, their TLS
state and their ends stay.`,
  ],
  [
    "a change of configuration",
    `All 20 agents share the two cores of this machine, so the last one's turn comes after the others'. On hosts of their own they work at
the same time.`,
  ],
  [
    "exec to first request",
    `The runtime's own start takes 13 ms; the rest is the main thread's start, the data thread's, and reading keys and snapshot.`,
  ],
];

const isTail = (row: Row): boolean => row.measure === "p99 ms";

function missed(rows: readonly Row[]): string {
  const short = rows.filter(
    (row) =>
      row.must !== undefined && verdict(row) !== "goal" && !(isTail(row) && verdict(row) === "yes"),
  );
  const told = REASONS.filter(([begins]) =>
    short.some((row) => (isTail(row) ? "p99" : row.name).startsWith(begins)),
  );
  if (told.length === 0) return "";
  const lines = told.map(([begins, reason]) => `- **${begins}**: ${reason}`);
  return `## What is missed, or short of its goal, and why\n\nThe shares below come from profiles taken by hand (perf, strace; 2026-11-24 to 26), not from this run.\n\n${lines.join("\n")}\n\n`;
}
