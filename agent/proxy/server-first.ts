// Undeclared ports whose servers speak first (SMTP, MySQL, SSH). Found by a client that stayed silent for detectTimeoutMs and a server
// that then spoke; known from there on to all threads, so that nobody waits a second time. Only a server's own first word is believed:
// no client can make a port opaque for others. A client that speaks first takes it back.
import { SERVER_FIRST_SLOT, SERVER_FIRST_SLOTS, type Slots } from "../base/slots.ts";

/** Who sent the first byte of a connection that is carried as it is. */
export type FirstWord = (by: "client" | "server") => void;

export function isServerFirst(slots: Slots, place: string): boolean {
  const mark = markOf(place);
  return slots.read(slotOf(mark)) === mark;
}

/** What `place` is taken for when its next connection comes. Two that share a slot forget each other: each waits once more. */
export function noteServerFirst(slots: Slots, place: string, isFirst: boolean): void {
  const mark = markOf(place);
  if (isFirst) slots.write(slotOf(mark), mark);
  else slots.exchange(slotOf(mark), mark, 0);
}

const slotOf = (mark: number): number => SERVER_FIRST_SLOT + ((mark >>> 0) % SERVER_FIRST_SLOTS);

/** FNV-1a, 32 bits; never 0. */
function markOf(place: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < place.length; i++) hash = Math.imul(hash ^ place.charCodeAt(i), 0x01000193);
  return hash === 0 ? 1 : hash;
}
