// TLS sessions of the mesh connections we dialled: the next connection to the same place needs no signature and no certificate, at either
// end (docs/decisions/0028-session-resumption.md). A server sees the identity that made the session, so a session serves only dials
// with the very certificate, target and peers it was made with, and all go when any certificate of ours or the trust changes.

/** About 2 KB each. The one that was replaced longest ago goes first. */
export const SESSIONS_MAX = 256;

export class MeshSessions {
  readonly #kept = new Map<string, Uint8Array>();
  readonly #most: number;

  /** 0: nothing is kept, so nothing resumes. */
  constructor(most: number) {
    this.#most = most;
  }

  find(key: string): Uint8Array | undefined {
    return this.#kept.get(key);
  }

  keep(key: string, session: Uint8Array): void {
    this.#kept.delete(key);
    this.#kept.set(key, session);
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= this.#most) return;
      this.#kept.delete(oldest);
    }
  }

  drop(key: string): void {
    this.#kept.delete(key);
  }

  clear(): void {
    this.#kept.clear();
  }
}
