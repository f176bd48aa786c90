// What a service port speaks, by Istio's rules: the declared protocol, else the port's name, else well-known numbers, else the
// first bytes. https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/
import type { Protocol } from "./snapshot.ts";

export interface PortProtocol {
  readonly protocol: Protocol;
  readonly speaks?: "http2";
  /** With `tcp`: TLS that is not terminated here, so that its ClientHello says whom it wants. */
  readonly isTls?: true;
}

const HTTP2 = new Set(["HTTP2", "GRPC"]);
const TLS = new Set(["TLS", "HTTPS"]);
const OPAQUE = new Set(["TCP", "MONGO", "MYSQL", "REDIS"]);
const NAMED = /^(http|http2|grpc|grpc-web|tcp|tls|https|mongo|mysql|redis|udp)(?:-|$)/i;
/** The server speaks first there (SMTP, MySQL) or is never HTTP (DNS): waiting for a client's bytes would only delay. */
const NEVER_HTTP = new Set([25, 53, 3306]);

export function portProtocol(
  declared: string | undefined,
  name: string | undefined,
  port: number,
): PortProtocol {
  const word = (wordOf(declared) ?? wordOf(nameOf(name))) || "";
  if (word === "HTTP" || word === "GRPC-WEB") return { protocol: "http" };
  if (HTTP2.has(word)) return { protocol: "http", speaks: "http2" };
  if (word === "UDP") return { protocol: "udp" };
  if (TLS.has(word)) return { protocol: "tcp", isTls: true };
  if (OPAQUE.has(word)) return { protocol: "tcp" };
  return { protocol: NEVER_HTTP.has(port) ? "tcp" : "auto" };
}

const wordOf = (text: string | undefined): string | undefined => {
  const word = text?.toUpperCase();
  return word === "" || word === "AUTO" ? undefined : word;
};

function nameOf(name: string | undefined): string | undefined {
  if (name === undefined) return undefined;
  return /^grpc-web(?:-|$)/i.test(name) ? "grpc-web" : NAMED.exec(name)?.[1];
}
