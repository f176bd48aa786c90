// A host that lies: with its own key and certificate, over its own mTLS, it asks the config server for a certificate of somebody it may
// not be. Prints what it was answered. Runs as the agent's user on the agent's state, as an intruder on that host could.
import { createSign, generateKeyPairSync } from "node:crypto";
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
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
  const body: CertificateRequest = { csrs: [csrFor(identity)] };
  const result = await post(new URL("/v1/certificates", host.servers[0]), JSON.stringify(body), {
    ca: [...roots],
    cert: certificates.join(""),
    key: keyPem,
  });
  console.log(JSON.stringify(result));
}

/** PKCS#10 (RFC 2986) with a SPIFFE ID as its only name, under a key of its own. */
function csrFor(identity: string): string {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const uri = der(0x86, Buffer.from(identity)); // GeneralName, [6]
  const extension = der(SEQUENCE, OID_SUBJECT_ALT_NAME, der(0x04, der(SEQUENCE, uri)));
  const request = der(SEQUENCE, OID_EXTENSION_REQUEST, der(SET, der(SEQUENCE, extension)));
  const info = der(
    SEQUENCE,
    der(0x02, Buffer.from([0])), // version 1
    der(SEQUENCE), // no subject
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa0, request),
  );
  const signature = createSign("sha256").update(info).sign(privateKey);
  const bits = der(0x03, Buffer.concat([Buffer.from([0]), signature]));
  const whole = der(SEQUENCE, info, der(SEQUENCE, OID_ECDSA_WITH_SHA256), bits);
  const lines = whole.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE REQUEST-----\n${lines.join("\n")}\n-----END CERTIFICATE REQUEST-----\n`;
}

const SEQUENCE = 0x30;
const SET = 0x31;
const OID_SUBJECT_ALT_NAME = Buffer.from("0603551d11", "hex");
const OID_EXTENSION_REQUEST = Buffer.from("06092a864886f70d01090e", "hex");
const OID_ECDSA_WITH_SHA256 = Buffer.from("06082a8648ce3d040302", "hex");

/** One DER value (X.690); lengths up to 65,535. */
function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const { length } = body;
  const head =
    length < 128
      ? [tag, length]
      : length < 256
        ? [tag, 0x81, length]
        : [tag, 0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from(head), body]);
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
