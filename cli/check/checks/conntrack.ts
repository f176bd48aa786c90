// The kernel's table of connections. Full, it drops new ones of the whole host; each redirected connection takes a place of its own.
import type { Facts } from "../facts.ts";
import { type Finding, tellerOf } from "../finding.ts";

const { ok, warning, error } = tellerOf("conntrack");

export const SHARE_WARN = 0.7;
export const SHARE_FULL = 0.9;

export function checkConntrack({ kernel: { conntrack } }: Facts): readonly Finding[] {
  if (conntrack === undefined)
    return [ok("table", "connections are not tracked yet: the redirect begins it")];
  const { count, max, dropped, forgotten } = conntrack;
  const share = count / max;
  const figures = `${count} of ${max} places are taken (${Math.round(share * 100)} %)`;
  const more = `sysctl -w net.netfilter.nf_conntrack_max=${max * 2} # and in /etc/sysctl.d; 320 bytes each`;
  const findings: Finding[] = [];
  if (share >= SHARE_FULL)
    findings.push(
      error(
        "table-full",
        `${figures}: new connections of the whole host are about to be dropped`,
        more,
      ),
    );
  else if (share >= SHARE_WARN) findings.push(warning("table-full", figures, more));
  if (dropped + forgotten > 0)
    findings.push(
      warning(
        "drops",
        `since boot ${dropped} packets were dropped and ${forgotten} connections forgotten early because the table was full`,
        more,
      ),
    );
  return findings.length > 0 ? findings : [ok("table", figures)];
}
