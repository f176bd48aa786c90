// Who is at the other end of a connection, as TLS proved it; handed to the routes by whoever owns the socket.
import type { TLSSocket } from "node:tls";
import { readCertificate } from "../../agent/pki/verify-chain.ts";

export type Peer =
  /** No client certificate: operators, and hosts that join. */
  | { readonly is: "none" }
  /** A certificate our root does not vouch for now. */
  | { readonly is: "refused"; readonly reason: string }
  | {
      readonly is: "verified";
      readonly identity: string;
      readonly notBeforeMs: number;
      readonly notAfterMs: number;
    };

export interface Bindings {
  readonly peer: Peer;
  /** Undefined for loopback: that is nobody's address. */
  readonly remoteAddress: string | undefined;
}

/** Without a certificate the runtime reports an issuer error too, so its presence decides. */
export function peerOf(socket: TLSSocket): Peer {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) return { is: "none" };
  if (!socket.authorized) return { is: "refused", reason: String(socket.authorizationError) };
  const facts = readCertificate(certificate.toString());
  if (facts?.identity === undefined) return { is: "refused", reason: "it names no SPIFFE ID" };
  const { identity, notBeforeMs, notAfterMs } = facts;
  return { is: "verified", identity, notBeforeMs, notAfterMs };
}

export function remoteAddressOf(socket: TLSSocket): string | undefined {
  const address = socket.remoteAddress?.replace(/^::ffff:/, "");
  if (address === undefined || address === "::1" || address.startsWith("127.")) return undefined;
  return address;
}
