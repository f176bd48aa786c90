// What a firewall program's failure means for the operator: one sentence, with the next action.
import type { Ran } from "./runner.ts";

const PACKAGE: { readonly [program: string]: string } = {
  nft: "nftables",
  ipset: "ipset",
  ip: "iproute2",
};

export function failure(argv: readonly string[], ran: Ran): string {
  const program = argv[0] ?? "";
  if (ran.code === 127) {
    return `the redirect needs the program ${program}, which is not here: install it (Debian: apt-get install ${PACKAGE[program] ?? "iptables"})`;
  }
  const said = (ran.stderr.trim() || ran.stdout.trim()).replace(/\s*\n\s*/g, "; ").slice(0, 600);
  if (said.includes("_tables_names")) {
    return `${program}: legacy iptables can be read by root only: run this command with sudo, or redirect by nft (${said})`;
  }
  if (
    /permission denied|operation not permitted|must be root|you need to be root|open socket to ipset/i.test(
      said,
    )
  ) {
    return `${program} was refused by the kernel: changing redirect rules needs root or CAP_NET_ADMIN and CAP_NET_RAW; run this command with sudo (${said})`;
  }
  return `${argv.join(" ")} failed (exit ${ran.code}): ${said}`;
}
