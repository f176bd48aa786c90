// Time and randomness as arguments, so that a seed reproduces a run. agent/os/clock.ts has the real ones,
// test/support/virtual-clock.ts the virtual one.

export interface Clock {
  /** Monotonic milliseconds with a fraction; cheap enough for every request. */
  nowMs(): number;
  /** Milliseconds since the Unix epoch, for certificates, logs and traces. */
  wallMs(): number;
}

export interface Timer {
  cancel(): void;
}

export interface Timers {
  /** Runs `task` once, not before `afterMs` from now. */
  after(afterMs: number, task: () => void): Timer;
}

export interface Random {
  /** Uniform in [0, 1). Not for secrets. */
  unit(): number;
  /** Uniform 32 bits, signed. Not for secrets. */
  int32(): number;
}

/** xorshift128: fast, seedable, for balancing, sampling, jitter and trace ids; never for keys. */
export class SeededRandom implements Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  constructor(seed: number) {
    this.#a = seed | 0 || 1;
    this.#b = 0x9e3779b9 | 0;
    this.#c = 0x243f6a88;
    this.#d = 0xb7e15162 | 0;
    for (let i = 0; i < 16; i++) this.int32();
  }

  int32(): number {
    const t = this.#a ^ (this.#a << 11);
    this.#a = this.#b;
    this.#b = this.#c;
    this.#c = this.#d;
    this.#d = this.#d ^ (this.#d >>> 19) ^ t ^ (t >>> 8);
    return this.#d | 0;
  }

  unit(): number {
    return (this.int32() >>> 0) / 0x1_0000_0000;
  }
}
