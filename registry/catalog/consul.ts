// Consul's catalog beside the mesh: what is there is found (consul-discovery.ts), what the mesh runs is written there
// (consul-publisher.ts). Both go on by themselves while Consul is away, and change nothing then.
import type { Log } from "../../agent/base/log.ts";
import { ConsulCatalogApi } from "../consul/catalog-api.ts";
import type { ConsulClient } from "../consul/client.ts";
import type { WatchDeps } from "../consul/watch.ts";
import type { DiscoveredService } from "./catalog.ts";
import { discoverServices } from "./consul-discovery.ts";
import { ConsulPublisher, type PublisherDeps } from "./consul-publisher.ts";

export interface ConsulCatalogDeps
  extends WatchDeps,
    Pick<PublisherDeps, "services" | "endpointsOf" | "version" | "connectedHosts" | "known"> {
  readonly consul: ConsulClient;
  readonly log: Log;
  discover(found: readonly DiscoveredService[]): Promise<void>;
}

/** `prefix`: where servers tell each other what they see. Returns how to end it. */
export function followConsulCatalog(prefix: string, deps: ConsulCatalogDeps): () => Promise<void> {
  const api = new ConsulCatalogApi(deps.consul);
  const stopDiscovery = discoverServices({ ...deps, api });
  const publisher = new ConsulPublisher(prefix, { ...deps, api });
  publisher.start();
  return async () => {
    stopDiscovery();
    await publisher.stop();
  };
}
