// What a member keeps on disk (docs/operating.md, "Files"): who it is, whom it believes, its keys. Keys are looked at, never told.
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { err, ok, type Result } from "../../../agent/base/result.ts";
import { AS_ROOT, type Unseen } from "../finding.ts";

export interface FileMode {
  readonly path: string;
  readonly uid: number;
  /** Permission bits. */
  readonly mode: number;
}

export interface HeldCertificate {
  readonly identity: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** What is wrong with it, or with its key. */
  readonly flaw: string | undefined;
}

export interface HostFiles {
  readonly host: string;
  readonly trustDomain: string;
  readonly servers: readonly string[];
  readonly directory: FileMode;
  readonly files: readonly FileMode[];
  readonly roots: readonly Root[];
  readonly rootsPem: string;
  readonly certificates: readonly HeldCertificate[];
  /** The host's own; undefined: none that can be used. */
  readonly own: { readonly cert: string; readonly key: string } | undefined;
  /** Files that are not what they should be. */
  readonly damaged: readonly string[];
}
export interface Root {
  /** SHA-256 of its DER, hex: what tokens pin. */
  readonly sha256: string;
  readonly notAfterMs: number;
}

const HOST_ACCOUNT = "/ns/ironmesh-system/sa/host.";

/** Undefined: this host has not joined. */
export function readHostFiles(stateDir: string): Result<HostFiles, Unseen> | undefined {
  try {
    if (statSync(join(stateDir, "host.json"), { throwIfNoEntry: false }) === undefined)
      return undefined;
    return ok(readAll(stateDir));
  } catch (error) {
    if (isCode(error, "EACCES")) return err(AS_ROOT);
    if (isCode(error, "ENOENT")) return undefined;
    const why = error instanceof Error ? error.message : String(error);
    return err({ why, next: "meshctl join TOKEN writes the host's files anew" });
  }
}

const isCode = (error: unknown, code: string): boolean =>
  error instanceof Error && "code" in error && error.code === code;

interface Identity {
  readonly identity: string;
  readonly certificates: readonly string[];
  readonly keyPem: string;
}

function readAll(stateDir: string): HostFiles {
  const damaged: string[] = [];
  const host = readJson(join(stateDir, "host.json"), damaged);
  const trust = readJson(join(stateDir, "trust.json"), damaged);
  const rootsPem = textsIn(trust["roots"]);
  const roots = rootsPem.flatMap((pem) => certificatesIn(pem));
  const directory = join(stateDir, "identities");
  const names = readdirSync(directory).filter((name) => name.endsWith(".json"));
  const identities = names.flatMap((name) => identityIn(join(directory, name), damaged));
  const own = identities.find(({ identity }) => identity.includes(HOST_ACCOUNT));
  return {
    host: textIn(host["host"]),
    trustDomain: textIn(host["trustDomain"]),
    servers: textsIn(host["servers"]),
    directory: modeOf(stateDir),
    files: ["host.json", "trust.json", ...names.map((name) => `identities/${name}`)].map((name) =>
      modeOf(join(stateDir, name)),
    ),
    roots: roots.map((root) => ({
      sha256: root.fingerprint256.replaceAll(":", "").toLowerCase(),
      notAfterMs: Date.parse(root.validTo),
    })),
    rootsPem: rootsPem.join("\n"),
    certificates: identities.map((one) => judge(one, roots)),
    own: own === undefined ? undefined : { cert: own.certificates.join("\n"), key: own.keyPem },
    damaged,
  };
}

function modeOf(path: string): FileMode {
  const { uid, mode } = statSync(path);
  return { path, uid, mode: mode & 0o777 };
}

function readJson(path: string, damaged: string[]): { readonly [name: string]: unknown } {
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (typeof value === "object" && value !== null) return value as { [name: string]: unknown };
  } catch (error) {
    if (isCode(error, "EACCES")) throw error;
  }
  damaged.push(path);
  return {};
}

const textIn = (value: unknown): string => (typeof value === "string" ? value : "");
const textsIn = (value: unknown): readonly string[] =>
  Array.isArray(value) ? value.filter((one) => typeof one === "string") : [];

function identityIn(path: string, damaged: string[]): readonly Identity[] {
  const { identity, certificates, keyPem } = readJson(path, damaged);
  const chain = textsIn(certificates);
  if (typeof identity === "string" && typeof keyPem === "string" && chain.length > 0)
    return [{ identity, certificates: chain, keyPem }];
  if (!damaged.includes(path)) damaged.push(path);
  return [];
}

function certificatesIn(pem: string): readonly X509Certificate[] {
  try {
    return [new X509Certificate(pem)];
  } catch {
    return []; // told by there being no root
  }
}

/** Chain, key and name; whether it is over is for the checks, which know the time. */
function judge({ identity, certificates, keyPem }: Identity, roots: readonly X509Certificate[]) {
  const chain = certificates.flatMap(certificatesIn);
  const [leaf] = chain;
  if (leaf === undefined)
    return { identity, notBeforeMs: 0, notAfterMs: 0, flaw: "it is no certificate" };
  return {
    identity,
    notBeforeMs: Date.parse(leaf.validFrom),
    notAfterMs: Date.parse(leaf.validTo),
    flaw: flawOf(leaf, chain, roots, { identity, keyPem }),
  };
}

function flawOf(
  leaf: X509Certificate,
  chain: readonly X509Certificate[],
  roots: readonly X509Certificate[],
  { identity, keyPem }: { readonly identity: string; readonly keyPem: string },
): string | undefined {
  if (leaf.subjectAltName !== `URI:${identity}`) return "it is for somebody else";
  const isSigned = chain.every((one, i) => {
    const above = chain[i + 1];
    const issuers = above === undefined ? roots : [above];
    return issuers.some((issuer) => one.raw.equals(issuer.raw) || one.verify(issuer.publicKey));
  });
  if (!isSigned) return "it does not come from the roots this host believes";
  try {
    return leaf.checkPrivateKey(createPrivateKey(keyPem)) ? undefined : "its key is another one's";
  } catch {
    return "its key cannot be read";
  }
}
