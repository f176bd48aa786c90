// docs/benchmarks.md: the figures, what they are figures of, and why what is missed is missed.
import type { Pace } from "./load-cases.ts";
import { detailTable, machine, type Row, resultTable } from "./table.ts";

export function page(rows: readonly Row[], pace: Pace): string {
  return `# Benchmarks

Written by \`npm run bench\`; do not edit. Date: ${new Date().toISOString().slice(0, 10)}.

${machine()}
- ${pace.rounds} rounds of ${pace.seconds} s a contender, one after the other in turns, after a round to warm up; medians of the rounds
- client (wrk, iperf3) and backend (nginx, iperf3) share one core, the proxies under test have the other; an mTLS pair shares it
- hosts are two network namespaces joined by a veth cable; one data thread an agent (\`--workers 1\`)
- Ironmesh as shipped: redirect by iptables, identity by listener, metrics, \`traceparent\` and \`x-request-id\`, default policies
- haproxy and nginx as their users would tune them for this work: keep-alive and connection reuse to the backend, request id, trace
  header and forwarded-for on each request, no access log; the pair with TLS 1.3, P-256 and certificates verified on both ends

## Asked and reached

CPU is the scheduler's count for all threads of the proxies, divided by the requests they served: it does not depend on which side
of the machine was the bottleneck. \`ratio\` is ours over haproxy's; \`holds\` says whether \`must\` (yes) or even \`goal\` is reached.

${resultTable(rows)}

## Under load

${detailTable(rows)}
`;
}
