// What one data thread knows of host names that endpoints have: it is told addresses, and says which names are used. Looking up is one
// thread's work (name-watch.ts), keeping the last good answer the main thread's (control/name-board.ts).
import { type Endpoint, slotsFrom } from "../policy/snapshot.ts";
import type { ToldName } from "../policy/told-names.ts";

/** How often the use of a name is told, at most. Far below the time after which it counts as unused. */
const TELL_EVERY_MS = 30_000;

export class HostNames {
  readonly #told = new Map<string, ToldName>();
  readonly #usedMs = new Map<string, number>();
  readonly #tell: (name: string) => void;

  constructor(tell: (name: string) => void) {
    this.#tell = tell;
  }

  /** Undefined: no answer was had yet, not even that there is none. */
  find(name: string): ToldName | undefined {
    return this.#told.get(name);
  }

  use(name: string, nowMs: number): void {
    const before = this.#usedMs.get(name);
    if (before !== undefined && nowMs - before < TELL_EVERY_MS) return;
    this.#usedMs.set(name, nowMs);
    this.#tell(name);
  }

  hear(told: ToldName): void {
    if (told.places === undefined) {
      this.#told.delete(told.name);
      this.#usedMs.delete(told.name);
    } else this.#told.set(told.name, told);
  }
}

/** What is dialled for an endpoint whose address is a host name. */
export function endpointsAt(endpoint: Endpoint, told: ToldName | undefined): readonly Endpoint[] {
  const { lookup, port } = endpoint;
  if (lookup === undefined || told === undefined) return [];
  if (lookup.takes === "first")
    return told.first === undefined ? [] : [{ ...endpoint, ...placed(told.first, port) }];
  return (told.places ?? []).flatMap((address, place) => {
    const first = lookup.slots[place];
    if (address === undefined || first === undefined) return [];
    return [{ ...endpoint, ...placed(address, port), slots: slotsFrom(first) }];
  });
}

const placed = (address: string, port: number): Pick<Endpoint, "id" | "address"> => ({
  id: address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`,
  address,
});
