// TLS to a config server that is proven before a byte is sent: its chain must end in the context's CA, and its SPIFFE ID must
// be the config server's (any agent holds a certificate of the same CA). Trust itself begins with the root's SHA-256.
import { createHash } from "node:crypto";
import { connect, type DetailedPeerCertificate, type TLSSocket } from "node:tls";
import { parseSpiffeId, SYSTEM_NAMESPACE } from "../agent/api/spiffe.ts";
import { CommandFailure, usage } from "./failure.ts";

export const CONNECT_TIMEOUT_MS = 10_000;

export function parseServerUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || url.protocol !== "https:")
    throw usage(`${JSON.stringify(text)} is no https URL`, "write it as https://HOST:15010");
  if (url.port === "") url.port = "15010";
  return url;
}

/** Whoever answers is not the config server of this CA; nothing was sent to it. */
export class ServerNotTrusted extends CommandFailure {
  readonly why: string;
  /** Of its certificate, where this host's time lies outside of it. */
  readonly validMs: readonly [from: number, to: number] | undefined;

  constructor(url: URL, why: string, validMs?: readonly [from: number, to: number]) {
    super(
      `${url.host} is not the config server this context trusts: ${why}`,
      "if the mesh's CA was made anew, run `meshctl login` with its --ca-sha256 again",
    );
    this.why = why;
    this.validMs = validMs;
  }
}

export interface DialOptions {
  /** Default CONNECT_TIMEOUT_MS. */
  readonly timeoutMs?: number;
  /** PEM: the host's own certificate, for what hosts alone may ask. */
  readonly own?: { readonly cert: string; readonly key: string };
}

const OUT_OF_TIME = ["CERT_HAS_EXPIRED", "CERT_NOT_YET_VALID"];

/** Proven to be the config server of this CA. */
export async function dialServer(
  url: URL,
  caPem: string,
  options: DialOptions = {},
): Promise<TLSSocket> {
  const socket = await handshake(url, caPem, options);
  const refuse = (why: string): never => {
    const { valid_from: from, valid_to: to } = socket.getPeerCertificate();
    socket.destroy();
    const isLate = OUT_OF_TIME.includes(why);
    throw new ServerNotTrusted(url, why, isLate ? [Date.parse(from), Date.parse(to)] : undefined);
  };
  // A certificate with a SPIFFE ID and no DNS name always ends in the second word; the chain is right then.
  const error = String(socket.authorizationError ?? "");
  if (!socket.authorized && error !== "ERR_TLS_CERT_ALTNAME_INVALID") return refuse(error);
  const names = socket.getPeerCertificate().subjectaltname ?? "";
  const uris = names.split(", ").filter((name) => name.startsWith("URI:"));
  const id = parseSpiffeId((uris[0] ?? "").slice(4));
  if (uris.length !== 1 || !id.ok) return refuse("its certificate holds no SPIFFE ID");
  if (id.value.namespace !== SYSTEM_NAMESPACE || id.value.serviceAccount !== "config-server")
    return refuse(`it is ${id.value.namespace}/${id.value.serviceAccount}`);
  return socket;
}

/** The root certificate (PEM) that the server shows, if its SHA-256 is the one given; nothing is sent on this connection. */
export async function fetchRoot(url: URL, caSha256: string): Promise<string> {
  const socket = await handshake(url, undefined);
  try {
    for (const der of chainOf(socket)) {
      if (createHash("sha256").update(der).digest("hex") === caSha256) return pemOf(der);
    }
  } finally {
    socket.destroy();
  }
  throw new CommandFailure(
    `${url.host} shows no certificate with SHA-256 ${caSha256}: it is not the server you mean, or the hash is wrong`,
    "compare the hash with the one the server prints when it starts; do not go on before they are equal",
  );
}

function chainOf(socket: TLSSocket): Buffer[] {
  const chain: Buffer[] = [];
  let certificate: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  while (certificate?.raw !== undefined && chain.length < 8) {
    chain.push(certificate.raw);
    const issuer: DetailedPeerCertificate | undefined = certificate.issuerCertificate;
    certificate = issuer === certificate ? undefined : issuer;
  }
  return chain;
}

const pemOf = (der: Buffer): string =>
  `-----BEGIN CERTIFICATE-----\n${(der.toString("base64").match(/.{1,64}/g) ?? []).join("\n")}\n-----END CERTIFICATE-----\n`;

function handshake(
  url: URL,
  caPem: string | undefined,
  { timeoutMs = CONNECT_TIMEOUT_MS, own }: DialOptions = {},
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const host = url.hostname.replace(/^\[|\]$/g, "");
    const fail = (why: string): void => {
      socket.destroy();
      reject(
        new CommandFailure(
          `cannot reach the config server at ${url.host}: ${why}`,
          "is it running (`meshctl server`), and is its port open from here?",
        ),
      );
    };
    const timer = setTimeout(() => fail(`no TLS handshake within ${timeoutMs} ms`), timeoutMs);
    const socket = connect(
      {
        host,
        port: Number(url.port),
        minVersion: "TLSv1.3",
        ca: caPem === undefined ? [] : [caPem],
        ...own,
        // The checks follow in dialServer: a SPIFFE certificate names no host, which this would refuse.
        rejectUnauthorized: false,
      },
      () => {
        clearTimeout(timer);
        socket.off("error", onError);
        resolve(socket);
      },
    );
    const onError = (error: Error): void => {
      clearTimeout(timer);
      fail(error.message);
    };
    socket.on("error", onError);
  });
}
