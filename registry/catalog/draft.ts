// Services as they are being gathered from resources and other catalogs, before they have virtual addresses.
import type { CatalogEndpoint } from "../../agent/api/session.ts";
import type { Problem } from "../../agent/base/result.ts";

export interface Draft {
  readonly host: string;
  readonly name: string;
  readonly namespace: string;
  readonly ports: Map<number, { port: number; name: string; protocol: string; from: string }>;
  readonly endpoints: CatalogEndpoint[];
  /** Known by a server name of TLS alone: no virtual address leads to it. */
  isNameOnly?: boolean;
}

export interface Gathered {
  readonly drafts: Map<string, Draft>;
  readonly errors: Problem[];
  readonly warnings: Problem[];
}

/** A service's canonical host. */
export const serviceHostOf = (name: string, namespace: string): string =>
  `${name}.${namespace}.mesh`;
