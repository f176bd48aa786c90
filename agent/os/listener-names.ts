// The main thread's side of listeners that outlive the process (listener-store.ts has the data threads'): whose each of them is, by its
// name.
import { openLibc } from "./libc.ts";
import { endListener } from "./listening-socket.ts";
import type { KeptDescriptor } from "./notify.ts";

/** Stored under a thread's own name: what every thread has. One message to the manager drops them all. */
export const storedName = (thread: number): string => `t${thread}`;
/** The kept descriptors of one thread, by their names. */
export const keptFor = (
  thread: number,
  kept: readonly KeptDescriptor[],
): readonly KeptDescriptor[] => kept.filter(({ name }) => threadOf(name) === thread);
export const threadOf = (name: string): number =>
  Number(/^t(\d{1,4})(?:\.|$)/.exec(name)?.[1] ?? -1);

export function endListeners(kept: readonly KeptDescriptor[]): void {
  if (kept.length === 0) return;
  const libc = openLibc();
  for (const { fd } of kept) endListener(libc, fd);
}
