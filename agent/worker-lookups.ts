// Looking up names of endpoints, wired: see lookups-when-used.ts.
import { SeededRandom } from "./base/clock.ts";
import type { Network } from "./base/net.ts";
import type { ThreadConfig } from "./control/thread-messages.ts";
import type { LookupsDeps } from "./lookups-when-used.ts";
import type { Loop } from "./os/loop.ts";
import { isLocalAddress } from "./os/route.ts";
import { lookUp } from "./proxy/lookup.ts";
import { NameWatch } from "./proxy/name-watch.ts";
import { forwardersOf, randomId } from "./worker-names.ts";

export function startLookups(
  loop: Loop,
  network: Network,
  { resolvers, hasIpv6, seed }: ThreadConfig,
  { metrics, tell }: LookupsDeps,
): NameWatch {
  const deps = { forwarders: forwardersOf(loop, network), timers: loop.wheel, randomId };
  return new NameWatch(
    { hasIpv6 },
    {
      lookUp: (question, done) =>
        lookUp(question, resolvers, deps, (outcome) => {
          metrics.counter("ironmesh_lookups_total", { outcome: outcome.is }).add();
          done(outcome);
        }),
      timers: loop.wheel,
      random: new SeededRandom(seed),
      nowMs: () => loop.nowMs(),
      isLocalAddress: (address) => isLocalAddress(loop, address),
      tell,
    },
  );
}
