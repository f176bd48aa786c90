// Who waits for something to hold, and is asked again whenever it may.

export class Waiters {
  readonly #looks = new Set<() => void>();

  /** Resolves when it holds, or when the time is over: what was waited for then comes late, and is logged by who is late. */
  until(ms: number, holds: () => boolean): Promise<void> {
    if (holds()) return Promise.resolve();
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#looks.delete(look);
        resolve();
      };
      const look = (): void => {
        if (holds()) end();
      };
      const timer = setTimeout(end, ms);
      this.#looks.add(look);
    });
  }

  /** Something changed. */
  wake(): void {
    for (const look of [...this.#looks]) look();
  }
}
