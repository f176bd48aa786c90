// `meshctl join TOKEN`: how a host becomes a member. Trust begins with the token, which pins the root by its SHA-256. So: look
// at the server's chain without sending anything; take the root out of it only if it is the pinned one; then connect anew, fully
// verified under that root, and only then show the secret.
import type { ConnectionOptions, DetailedPeerCertificate } from "node:tls";
import { parseJoinToken } from "../api/join-token.ts";
import type { JoinRequest, JoinResponse, JoinToken } from "../api/session.ts";
import { hostIdentity, parseSpiffeId } from "../api/spiffe.ts";
import type { Log } from "../base/log.ts";
import { err, ok, type Result } from "../base/result.ts";
import { sha256OfCertificate } from "../pki/pem.ts";
import { PkiCertificateMaker } from "./certificate-maker.ts";
import { type HostState, readHostState, writeHostState, writeTrust } from "./host-state.ts";
import { DiskIdentityFiles } from "./identity-files.ts";
import { postJson, type RequestFailure } from "./server-client.ts";
import { serverTls, uriIn } from "./server-tls.ts";

export interface JoinRefusal {
  readonly code:
    | "bad_token"
    | "token_expired"
    | "wrong_ca"
    | "not_a_config_server"
    | "unreachable"
    | "refused"
    | "bad_answer"
    | "joined_as_another";
  readonly message: string;
  /** What to do. */
  readonly next: string;
}

export interface JoinDeps {
  wallMs(): number;
  readonly log: Log;
}

const NEW_TOKEN = "ask an operator for a new token: meshctl token create --host HOST";
const PEEK_TIMEOUT_MS = 5_000;
const CHAIN_CERTIFICATES_MAX = 10;

/** Tries the token's servers in turn. When it resolves with ok, all is on disk and the agent can start. */
export async function joinHost(
  tokenText: string,
  stateDir: string,
  deps: JoinDeps,
): Promise<Result<HostState, JoinRefusal>> {
  const token = parseJoinToken(tokenText);
  if (!token.ok) return err({ code: "bad_token", message: token.error, next: NEW_TOKEN });
  const nowMs = deps.wallMs();
  if (nowMs > token.value.expiresAtMs) {
    const expired = new Date(token.value.expiresAtMs).toISOString();
    return err({
      code: "token_expired",
      message: `the token expired at ${expired}`,
      next: NEW_TOKEN,
    });
  }
  const before = await readHostState(stateDir);
  if (before !== undefined && before.host !== token.value.host) {
    const message = `this host joined as ${before.host}; the token is for ${token.value.host}`;
    const next = `use a token for ${before.host}, or remove ${stateDir} first`;
    return err({ code: "joined_as_another", message, next });
  }
  return joinByAny(token.value, stateDir, deps);
}

async function joinByAny(
  token: JoinToken,
  stateDir: string,
  deps: JoinDeps,
): Promise<Result<HostState, JoinRefusal>> {
  const unreachable: string[] = [];
  for (const server of token.servers) {
    const joined = await joinBy(server, token, stateDir, deps);
    if (joined.ok || joined.error.code !== "unreachable") return joined;
    unreachable.push(`${server}: ${joined.error.message}`);
  }
  return err({
    code: "unreachable",
    message: `no config server of the token answers (${unreachable.join("; ")})`,
    next: "check that the server runs and that this host may reach it; then join again; if the server then says that the token was used, ask for a new one",
  });
}

async function joinBy(
  server: string,
  token: JoinToken,
  stateDir: string,
  deps: JoinDeps,
): Promise<Result<HostState, JoinRefusal>> {
  const seen = await peek(new URL(server));
  if (!seen.ok) return err({ code: "unreachable", message: seen.error, next: "" });
  const anchor = findAnchor(seen.value, token, server);
  if (!anchor.ok) return anchor;
  const { trustDomain, root } = anchor.value;
  const maker = new PkiCertificateMaker({ trustDomain }, deps);
  const identity = hostIdentity(trustDomain, token.host);
  const { csrPem, keyPem } = await maker.createCsr(identity);
  const request: JoinRequest = { secret: token.secret, host: token.host, csr: csrPem };
  const tls = serverTls({ trustDomain, roots: [root] }, undefined);
  const answer = await postJson(new URL("/v1/join", server), request, tls);
  if (!answer.ok) return err(refusalOf(answer.error));
  const response = readResponse(answer.value);
  const roots = response?.trustBundle ?? [];
  const hasPinned = roots.some((pem) => sha256OfCertificate(pem) === token.caSha256);
  const checked = await maker.check({ identity, keyPem }, response?.certificates ?? [], [root]);
  if (response === undefined || !checked.ok || response.host !== token.host || !hasPinned) {
    const why = checked.ok ? "of an unknown form" : checked.error;
    const message = `the server's answer is not what a config server gives: ${why}`;
    return err({ code: "bad_answer", message, next: NEW_TOKEN });
  }
  const { certificates } = response;
  const issuedAtMs = deps.wallMs();
  const { notAfterMs } = checked.value;
  await writeTrust(stateDir, { trustDomain, roots });
  const files = new DiskIdentityFiles({ stateDir }, deps);
  // A host that joins again may have another CA or another grant: what it held before is asked for anew.
  for (const held of await files.load()) await files.remove(held.identity);
  await files.write({ identity, certificates, keyPem, issuedAtMs, notAfterMs });
  const state = { host: token.host, trustDomain, servers: token.servers, joinedAtMs: issuedAtMs };
  await writeHostState(stateDir, state); // Last: it is what says that the host joined.
  return ok(state);
}

interface Seen {
  /** PEM, leaf first, as far as the server sent it. */
  readonly chain: readonly string[];
  readonly identity: string | undefined;
}

/** Looks at who answers. Unverified on purpose: nothing is sent on this connection, and nothing it shows is believed. */
async function peek(url: URL): Promise<Result<Seen, string>> {
  const { connect } = await import("node:tls");
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const options: ConnectionOptions = {
    host,
    port: Number(url.port || 443),
    minVersion: "TLSv1.3",
    rejectUnauthorized: false,
  };
  return new Promise((resolve) => {
    const socket = connect(options, () => {
      const leaf = socket.getPeerCertificate(true);
      finish(ok({ chain: chainOf(leaf), identity: uriIn(leaf.subjectaltname ?? "") }));
    });
    const deadline = setTimeout(
      () => finish(err(`no answer within ${PEEK_TIMEOUT_MS} ms`)),
      PEEK_TIMEOUT_MS,
    );
    const finish = (result: Result<Seen, string>): void => {
      clearTimeout(deadline);
      socket.destroy();
      resolve(result);
    };
    socket.on("error", (error: NodeJS.ErrnoException) =>
      finish(err(error.message || error.code || "failed")),
    );
    socket.on("close", () => finish(err("the connection closed before TLS was up")));
  });
}

function chainOf(leaf: DetailedPeerCertificate): string[] {
  const chain: string[] = [];
  let at: DetailedPeerCertificate | undefined = leaf;
  while (at?.raw !== undefined && chain.length < CHAIN_CERTIFICATES_MAX) {
    const base64 = at.raw.toString("base64").replace(/.{1,64}/g, "$&\n");
    chain.push(`-----BEGIN CERTIFICATE-----\n${base64}-----END CERTIFICATE-----\n`);
    at = at.issuerCertificate === at ? undefined : at.issuerCertificate;
  }
  return chain;
}

/** The pinned root, if the server showed it. The trust domain is what the server says it is, and holds only if its certificate
 *  proves under that root to be this trust domain's config server: serverTls checks it before the secret is sent. */
function findAnchor(
  seen: Seen,
  token: JoinToken,
  server: string,
): Result<{ trustDomain: string; root: string }, JoinRefusal> {
  const root = seen.chain.find((pem) => sha256OfCertificate(pem) === token.caSha256);
  if (root === undefined) {
    const shown = sha256OfCertificate(seen.chain.at(-1) ?? "") ?? "none";
    return err({
      code: "wrong_ca",
      message: `${server} does not show the CA that the token pins: the token says ${token.caSha256}, the server ${shown}. Nothing was sent to it`,
      next: "if the server was set up anew, ask for a new token; if not, somebody else is answering on its address",
    });
  }
  const identity = parseSpiffeId(seen.identity ?? "");
  if (!identity.ok) {
    const message = `${server} has no SPIFFE ID: it is no config server. Nothing was sent to it`;
    return err({
      code: "not_a_config_server",
      message,
      next: "check the server's address in the token",
    });
  }
  return ok({ trustDomain: identity.value.trustDomain, root });
}

function refusalOf(failure: RequestFailure): JoinRefusal {
  if (failure.is === "unreachable")
    return { code: "unreachable", message: failure.reason, next: "" };
  const message = `the config server refuses (${failure.code}): ${failure.message}`;
  return { code: "refused", message, next: failure.next ?? NEW_TOKEN };
}

function readResponse(value: unknown): JoinResponse | undefined {
  const { host, trustDomain, certificates, trustBundle } = (value ?? {}) as {
    readonly [name: string]: unknown;
  };
  if (typeof host !== "string" || typeof trustDomain !== "string") return undefined;
  if (!isTexts(certificates) || !isTexts(trustBundle)) return undefined;
  return { host, trustDomain, certificates, trustBundle };
}

const isTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((text) => typeof text === "string");
