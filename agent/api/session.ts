// What an agent and the config server say to each other: JSON over one WebSocket each (mTLS), and over HTTPS to join and to
// renew. Sources go out, every agent compiles for itself; so versions can differ. All sizes are bounded here.

import type { DecisionAnswer } from "./decisions.ts";
import type { EdgeReport } from "./edges.ts";
import type { GossipView } from "./gossip.ts";

export const SERVER_PORT = 15010;
export const UNIT_BYTES_MAX = 1_048_576;
export const UNITS_PER_MESSAGE_MAX = 256;
export const MESSAGE_BYTES_MAX = 8_388_608;

/** A piece of configuration addressed by the SHA-256 (hex) of its body's UTF-8 bytes. */
export interface Unit {
  readonly hash: string;
  /** Canonical JSON of a UnitBody. */
  readonly body: string;
}

export type UnitBody =
  | { readonly is: "resource"; readonly resource: ResourceDocument }
  /** A service with the addresses the server allotted; derived from Workloads and ServiceEntries. */
  | { readonly is: "service"; readonly service: CatalogService }
  /** All endpoints of one service. */
  | {
      readonly is: "endpoints";
      readonly service: string;
      readonly endpoints: readonly CatalogEndpoint[];
    }
  | { readonly is: "mesh"; readonly mesh: MeshSettings };

/** A resource as stored: what a person wrote, validated, with defaults not filled in. */
export interface ResourceDocument {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly labels?: { readonly [name: string]: string };
    readonly annotations?: { readonly [name: string]: string };
  };
  readonly spec: unknown;
}

export interface MeshSettings {
  readonly trustDomain: string;
  readonly rootNamespace: string;
  readonly outboundPolicy: "allow_any" | "registry_only";
}

export interface CatalogService {
  readonly host: string;
  readonly name: string;
  readonly namespace: string;
  readonly vip4: string;
  readonly vip6: string;
  readonly ports: readonly {
    readonly port: number;
    readonly name: string;
    readonly protocol: string;
  }[];
}

export interface CatalogEndpoint {
  readonly address: string;
  readonly host: string;
  readonly workload: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly labels: { readonly [name: string]: string };
  readonly weight: number;
  /** Service port -> the port the app listens on. */
  readonly ports: readonly { readonly port: number; readonly targetPort: number }[];
  /** False for endpoints without an agent (WorkloadEntry): dialled in plaintext. */
  readonly hasAgent: boolean;
  /** The service by which its agent knows the port, where the list is another service's (one found in Consul); default: the list's. */
  readonly calledAs?: string;
}

/** The server signs the exact bytes of `payload`; anybody entitled may pass it on. */
export interface SignedManifest {
  /** JSON of a Manifest. */
  readonly payload: string;
  /** base64 ECDSA P-256 / SHA-256 (IEEE P1363) by the key of `certificates[0]`. */
  readonly signature: string;
  /** PEM chain; the leaf's SPIFFE ID must be serverIdentity(trustDomain). */
  readonly certificates: readonly string[];
}
export interface Manifest {
  readonly epoch: number;
  readonly version: number;
  /** Scope: an agent refuses a manifest made for another host. */
  readonly host: string;
  /** Hashes of all units, in the order they are to be read. */
  readonly units: readonly string[];
  readonly issuedAtMs: number;
}

export type AgentMessage =
  | {
      readonly type: "hello";
      readonly agentVersion: string;
      readonly host: string;
      /** What this agent can compile, as `apiVersion/kind`. */
      readonly runs: readonly string[];
      /** What it already has, so that a resume sends only what is missing. */
      readonly epoch: number;
      readonly version: number;
      readonly units: readonly string[];
      /** What it understands beyond this, e.g. SPEAKS_GOSSIP: the server says nothing else to it. */
      readonly speaks?: readonly string[];
    }
  | { readonly type: "ack"; readonly epoch: number; readonly version: number }
  | {
      readonly type: "nack";
      readonly epoch: number;
      readonly version: number;
      readonly reasons: readonly string[];
    }
  /** Every few seconds while there is traffic; see edges.ts. */
  | EdgeReport
  | DecisionReply;

/** To a server's `decision`, whose `turn` it repeats: an answer, or one sentence why there is none. */
export interface DecisionReply {
  readonly type: "decision";
  readonly turn: number;
  readonly answer?: DecisionAnswer | undefined;
  readonly error?: string | undefined;
}

export type ServerMessage =
  /** Units the agent lacks come first, in one or more `units` messages; the manifest makes them count. */
  | { readonly type: "units"; readonly units: readonly Unit[] }
  | { readonly type: "manifest"; readonly manifest: SignedManifest }
  /** At any time, to agents that speak it; replaces what was said before. */
  | { readonly type: "gossip"; readonly gossip: GossipView }
  /** Why was that refused? To agents that speak it. */
  | { readonly type: "decision"; readonly turn: number; readonly id: string };

/** POST /v1/join, TLS verified against the CA that the token pins. */
export interface JoinRequest {
  /** The token's secret part; see JoinToken. */
  readonly secret: string;
  readonly host: string;
  /** PKCS#10, PEM, for hostIdentity(host). */
  readonly csr: string;
}
export interface JoinResponse {
  readonly host: string;
  readonly trustDomain: string;
  /** Leaf first, PEM. */
  readonly certificates: readonly string[];
  /** PEM roots. */
  readonly trustBundle: readonly string[];
}

/** POST /v1/certificates over the host's own mTLS: one CSR for each identity; the host identity may be among them. */
export interface CertificateRequest {
  readonly csrs: readonly string[];
}
export interface CertificateResponse {
  /** In the order asked. */
  readonly issued: readonly {
    readonly identity: string;
    readonly certificates: readonly string[];
  }[];
  readonly trustBundle: readonly string[];
}

/** GET /v1/self over the host's own mTLS: whom the server takes it for. */
export interface SelfResponse {
  readonly host: string;
  /** `NAMESPACE/ACCOUNT`, as its token granted. */
  readonly serviceAccounts: readonly string[];
  readonly serverVersion: string;
  /** The server's wall clock. */
  readonly wallMs: number;
}

/** DELETE /v1/self over the host's own mTLS: it leaves, and the server forgets it. */
export interface LeaveResponse {
  readonly host: string;
}

/** Error body of every HTTP answer that is not 2xx. */
export interface ApiError {
  readonly error: {
    /** Stable word, e.g. `token_used`, `identity_not_granted`, `invalid_resource`. */
    readonly code: string;
    readonly message: string;
    /** What to do next. */
    readonly next?: string;
    readonly problems?: readonly import("../base/result.ts").Problem[];
  };
}

/** What `meshctl token create` prints: `im1.` + base64url JSON of this. The secret is stored only as SHA-256. */
export interface JoinToken {
  /** https URL of the config server; several may follow later. */
  readonly servers: readonly string[];
  /** SHA-256, hex, of the root certificate's DER. */
  readonly caSha256: string;
  readonly host: string;
  /** Service accounts this host may hold, as `NAMESPACE/ACCOUNT`. */
  readonly serviceAccounts: readonly string[];
  readonly expiresAtMs: number;
  readonly secret: string;
}
