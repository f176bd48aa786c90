// worker-lookups.ts of the one data thread that looks up names of endpoints, loaded when the first is used: a start without any does not pay
// for it.
import type { Network } from "./base/net.ts";
import type { ThreadConfig } from "./control/thread-messages.ts";
import type { SeriesTable } from "./observe/series.ts";
import type { Loop } from "./os/loop.ts";
import type { NameNews } from "./policy/told-names.ts";
import type { NameWatch } from "./proxy/name-watch.ts";

export interface LookupsDeps {
  readonly metrics: SeriesTable;
  bug(error: unknown): void;
  tell(news: NameNews): void;
}

export class LookupsWhenUsed {
  readonly #load: () => Promise<NameWatch>;
  readonly #bug: (error: unknown) => void;
  #watch: Promise<NameWatch> | undefined;

  constructor(loop: Loop, network: Network, config: ThreadConfig, deps: LookupsDeps) {
    this.#bug = deps.bug;
    this.#load = async () => {
      const { startLookups } = await import("./worker-lookups.ts");
      return startLookups(loop, network, config, deps);
    };
  }

  follow(names: readonly string[], dropped: readonly string[]): void {
    if (this.#watch === undefined && names.length === 0) return;
    this.#watch ??= this.#load();
    this.#watch
      .then((watch) => {
        for (const name of dropped) watch.drop(name);
        for (const name of names) watch.want(name);
      })
      .catch(this.#bug);
  }
}
