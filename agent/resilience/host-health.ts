// Whether a host takes traffic at all: one shared slot a host, written by the gossip session (control/gossip-session.ts), read by
// every balancer of every thread. Gossip only ever lowers it; a connection of ours that succeeds outweighs that.
//
//   up --gossip--> down --a success of ours--> vouched --VOUCHED_MS later, unless gossip took it back--> down
//   any --the host answers again--> up
import {
  HEALTH_TURN_SLOT,
  HOST_DOWN,
  HOST_VOUCHED,
  HOSTS_DOWN_SLOT,
  type Slots,
} from "../base/slots.ts";
import type { Endpoint } from "../policy/snapshot.ts";

export function isDown(slots: Slots, { slots: { hostHealth } }: Endpoint): boolean {
  return hostHealth !== undefined && slots.read(hostHealth) === HOST_DOWN;
}

/** A connection to the endpoint succeeded. One read as long as every host is up. */
export function vouchFor(slots: Slots, endpoint: Endpoint): void {
  if (slots.read(HOSTS_DOWN_SLOT) === 0) return;
  const { hostHealth } = endpoint.slots;
  if (hostHealth === undefined || slots.read(hostHealth) !== HOST_DOWN) return;
  if (slots.exchange(hostHealth, HOST_DOWN, HOST_VOUCHED) !== HOST_DOWN) return;
  slots.add(HEALTH_TURN_SLOT, 1);
}
