// What the operator's CLI and the config server say to each other: JSON over HTTPS, `Authorization: Bearer OPERATOR_TOKEN`.
// Anything but 2xx carries an ApiError (session.ts).
import type { Problem } from "../base/result.ts";
import type { ResourceDocument } from "./session.ts";

export const OPERATOR_BODY_BYTES_MAX = 33_554_432;

/** POST /v1/apply, with ?dryRun=1 to be told without storing. All or nothing. */
export interface ApplyRequest {
  readonly documents: readonly ResourceDocument[];
}
export interface ApplyResponse {
  readonly epoch: number;
  /** Agents that ack this version run it. Unchanged if nothing changed. */
  readonly version: number;
  readonly results: readonly AppliedResource[];
  readonly warnings: readonly Problem[];
}
export interface AppliedResource {
  /** See refOf in resource.ts: `GROUP/KIND/NAMESPACE/NAME`. */
  readonly ref: string;
  readonly change: "created" | "configured" | "unchanged";
}

/** POST /v1/validate: as apply, and compiled as agents would, but nothing is compared or stored. */
export interface ValidateResponse {
  readonly problems: readonly Problem[];
}

/** GET /v1/resources?kind=&namespace=&name= */
export interface ListResponse {
  readonly version: number;
  readonly resources: readonly ResourceDocument[];
}

/** DELETE /v1/resources/:apiVersion/:kind/:namespace/:name, apiVersion URL-encoded; 404 `not_found` if it is not there. */
export interface DeleteResponse {
  readonly epoch: number;
  readonly version: number;
}

/** DELETE /v1/hosts/:name; 404 `not_found` if there is no such host. */
export interface ExpelResponse {
  readonly epoch: number;
  readonly version: number;
}

/** POST /v1/tokens */
export interface TokenRequest {
  readonly host: string;
  /** `NAMESPACE/ACCOUNT` */
  readonly serviceAccounts: readonly string[];
  readonly ttlSeconds: number;
  /** Where the host is reached, if that is not what the server sees. */
  readonly address?: string;
}
export interface TokenResponse {
  /** Shown once: only its hash is kept. */
  readonly token: string;
}

/** GET /v1/status */
export interface MeshStatus {
  readonly epoch: number;
  readonly version: number;
  readonly hosts: readonly HostStatus[];
}
export interface HostStatus {
  readonly name: string;
  readonly address: string | undefined;
  readonly isConnected: boolean;
  readonly agentVersion: string | undefined;
  readonly ackedVersion: number | undefined;
  /** Why the agent refused the latest version it was sent. */
  readonly nack?: { readonly version: number; readonly reasons: readonly string[] };
  readonly certificateExpiresAtMs: number | undefined;
}

/** POST /v1/login: is this token an operator's? */
export interface LoginResponse {
  readonly operator: string;
}
