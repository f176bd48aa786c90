// Which runtime this is, where that must be known. What differs lies in ffi.ts (libc), memory.ts (the heap), thread.ts (how a thread's
// death is learnt) and tls-runtime.ts (TLS); everything else is the same code on Bun and on Deno.

export const isBun = "Bun" in globalThis;

/** Turns of its own loop that the runtime needs once it is ready, before all that became ready has run. Deno hands an event from its
 *  poller to a task and from there to JavaScript; with fewer turns each of its operations waits for our next wake-up. */
export const RUNTIME_TURNS = isBun ? 1 : 3;

/** RFC 8446 7.5, of its TLS sockets: Deno's have none up to 2.9.6. Datagrams between hosts are sealed by such keys. */
export const exportsKeys = (): boolean => isBun;
/** Of handshakes, in a turn of its loop. Bun takes five of them (`MAX_LOW_PRIO_SOCKETS_PER_LOOP_ITERATION` of its sockets); the fifth is
 *  for who comes back out of turn. */
export const HANDSHAKE_STEPS = isBun ? 4 : Number.POSITIVE_INFINITY;
