// What the redirect must know of this host: its resolvers, the session it must not cut, and who a user name is.
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { err, ok, type Result } from "../../base/result.ts";
import { readAddress, SOCKADDR_BYTES, writeSockaddr } from "../address.ts";
import type { Owner } from "./input.ts";
import type { Runner } from "./runner.ts";

/** glibc reads three (MAXNS) and ignores the rest, so their queries are not captured either. */
const RESOLVERS_MAX = 3;

/** The nameservers of a resolv.conf(5), each address in its shortest form. What is no address is left as written, for the plan to refuse. */
export function resolversOf(resolvConf: string): string[] {
  const named = resolvConf
    .split("\n")
    .flatMap((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? []);
  return [...new Set(named.slice(0, RESOLVERS_MAX).map(shortest))];
}

/** RFC 5952; two spellings of one resolver must not look like two. */
function shortest(address: string): string {
  if (isIP(address) === 0) return address;
  const bytes = new Uint8Array(SOCKADDR_BYTES);
  return writeSockaddr(bytes, 0, address, 0) === 0 ? address : readAddress(bytes, 0);
}

/** Server port of the SSH session this command runs in (sshd sets `SSH_CONNECTION` to client, port, server, port). */
export function sshPortsOf(sshConnection: string | undefined): number[] {
  const port = Number(sshConnection?.trim().split(/\s+/)[3]);
  return Number.isInteger(port) && port > 0 && port < 65_536 ? [port] : [];
}

/** True when the kernel has IPv6 and an interface carries an address of it. */
export function hostHasIpv6(): boolean {
  try {
    return readFileSync("/proc/net/if_inet6", "latin1").trim() !== "";
  } catch {
    return false; // built without IPv6, or ipv6.disable=1: there is no such file
  }
}

export type NamedOwner = Owner | { readonly is: "user"; readonly user: string };

/** A user's uid, which rules match; the other selectors are as the kernel wants them. */
export async function pinOwner(owner: NamedOwner, runner: Runner): Promise<Result<Owner, string>> {
  if (owner.is !== "user") return ok(owner);
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/.test(owner.user))
    return err(`"${owner.user}" is no user name`);
  const ran = await runner.run(["getent", "passwd", owner.user]);
  const uid = Number(ran.stdout.split(":")[2]);
  return ran.code === 0 && Number.isInteger(uid)
    ? ok({ is: "uid", uid })
    : err(
        `there is no user "${owner.user}" on this host: make it (useradd --system ${owner.user}) and apply again`,
      );
}
