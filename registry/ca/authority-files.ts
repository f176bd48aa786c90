// Where the authority's keys lie: STATE/ca, 0700, each file 0600 and written whole or not at all.
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import type { Authority } from "../../agent/pki/x509.ts";

export type AuthorityName = "root" | "intermediate";

export class AuthorityFiles {
  readonly #directory: string;

  constructor(stateDir: string) {
    this.#directory = join(stateDir, "ca");
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
  }

  /** Certificate and key are one file, so that they are never of different pairs. */
  read(name: AuthorityName): Authority | undefined {
    const path = this.#path(name);
    if (!existsSync(path)) return undefined;
    const [, certificatePem, keyPem] =
      /^(-----BEGIN CERTIFICATE-----.*-----END CERTIFICATE-----\n)(-----BEGIN PRIVATE KEY-----.*)$/s.exec(
        readFileSync(path, "utf8"),
      ) ?? [];
    if (certificatePem === undefined || keyPem === undefined) {
      throw new Error(`${path} is damaged: restore it from your backup`);
    }
    return { certificatePem, keyPem };
  }

  write(name: AuthorityName, authority: Authority): void {
    writePrivateFile(this.#path(name), authority.certificatePem + authority.keyPem);
  }

  readTrustDomain(): string | undefined {
    const path = join(this.#directory, "trust-domain");
    return existsSync(path) ? readFileSync(path, "utf8").trim() : undefined;
  }

  writeTrustDomain(trustDomain: string): void {
    writePrivateFile(join(this.#directory, "trust-domain"), `${trustDomain}\n`);
  }

  #path(name: AuthorityName): string {
    return join(this.#directory, `${name}.pem`);
  }
}

/** 0600, whole or not at all, and on disk when it returns. */
export function writePrivateFile(path: string, text: string): void {
  const draft = `${path}.new`;
  const fd = openSync(draft, "w", 0o600);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(draft, path);
  const directory = openSync(dirname(path), "r");
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
