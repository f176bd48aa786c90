// A host that lies: with its own key and certificate, over its own mTLS, it asks the config server for a certificate of somebody it may
// not be. Prints what it was answered. Runs as the agent's user on the agent's state, as an intruder on that host could.
import "reflect-metadata";
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import * as x509 from "@peculiar/x509";
import type { ApiError, CertificateRequest } from "../../../agent/api/session.ts";
import { SYSTEM_NAMESPACE } from "../../../agent/api/spiffe.ts";

export interface ClaimJob {
  readonly stateDir: string;
  readonly identity: string;
}
export interface ClaimResult {
  readonly status: number;
  /** The error's code; empty when the claim was granted. */
  readonly code: string;
}

interface HostFile {
  readonly host: string;
  readonly trustDomain: string;
  readonly servers: readonly string[];
}
interface IdentityFile {
  readonly certificates: readonly string[];
  readonly keyPem: string;
}

export async function serveClaim({ stateDir, identity }: ClaimJob): Promise<void> {
  const read = (name: string): unknown => JSON.parse(readFileSync(join(stateDir, name), "utf8"));
  const host = read("host.json") as HostFile;
  const { roots } = read("trust.json") as { readonly roots: readonly string[] };
  const own = `identities/${SYSTEM_NAMESPACE}@host.${host.host}.json`; // as the agent names it
  const { certificates, keyPem } = read(own) as IdentityFile;
  const body: CertificateRequest = { csrs: [await csrFor(identity)] };
  const result = await post(new URL("/v1/certificates", host.servers[0]), JSON.stringify(body), {
    ca: [...roots],
    cert: certificates.join(""),
    key: keyPem,
  });
  console.log(JSON.stringify(result));
}

async function csrFor(identity: string): Promise<string> {
  const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const name = new x509.SubjectAlternativeNameExtension([{ type: "url", value: identity }]);
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    keys,
    signingAlgorithm: algorithm,
    extensions: [name],
  });
  return csr.toString("pem");
}

function post(
  url: URL,
  text: string,
  tls: { readonly ca: string[]; readonly cert: string; readonly key: string },
): Promise<ClaimResult> {
  return new Promise((resolve, reject) => {
    const sent = request(
      url,
      {
        ...tls,
        method: "POST",
        agent: false,
        minVersion: "TLSv1.3",
        // The server is known by its SPIFFE ID; the chain is verified all the same.
        checkServerIdentity: () => undefined,
        headers: { "content-type": "application/json", "content-length": Buffer.byteLength(text) },
      },
      (answer) => {
        let said = "";
        answer.setEncoding("utf8");
        answer.on("data", (part: string) => {
          said += part;
        });
        answer.on("end", () => {
          const { error } = JSON.parse(said) as Partial<ApiError>;
          resolve({ status: answer.statusCode ?? 0, code: error?.code ?? "" });
        });
      },
    );
    sent.on("error", reject);
    sent.end(text);
  });
}
