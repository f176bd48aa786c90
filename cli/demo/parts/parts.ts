// The helpers that the demo starts inside its hosts, by name (`meshctl demo part NAME`). Not for people.
import type { ClaimJob } from "./claim.ts";
import type { LoadConfig } from "./load.ts";
import type { MeasureJob } from "./measure.ts";
import type { ResolverConfig } from "./resolver.ts";
import type { SquatConfig } from "./squat.ts";
import type { WatchConfig } from "./watch.ts";

export type PartName =
  | "resolver"
  | "relay"
  | "load"
  | "measure"
  | "claim"
  | "watch"
  | "squat"
  | "site";

/** `input` is JSON. Each part is loaded only when it is the one that runs. */
export async function servePart(name: string, input: string): Promise<void> {
  const config: unknown = JSON.parse(input);
  switch (name as PartName) {
    case "resolver":
      return (await import("./resolver.ts")).serveResolver(config as ResolverConfig);
    case "relay":
      return (await import("./relay.ts")).serveRelay(config as readonly string[]);
    case "load":
      return (await import("./load.ts")).serveLoad(config as LoadConfig);
    case "measure":
      return (await import("./measure.ts")).serveMeasure(config as MeasureJob);
    case "claim":
      return (await import("./claim.ts")).serveClaim(config as ClaimJob);
    case "watch":
      return (await import("./watch.ts")).serveWatch(config as WatchConfig);
    case "squat":
      return (await import("./squat.ts")).serveSquat(config as SquatConfig);
    case "site":
      return (await import("./site.ts")).serveSite(config as number);
    default:
      throw new Error(`the demo has no part ${name}`);
  }
}
