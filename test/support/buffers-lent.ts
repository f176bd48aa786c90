// Counts what a pool has given out and not got back.

interface Pool {
  take(bytes: number): Uint8Array;
  give(buffer: Uint8Array): void;
}

export function countLent(pool: Pool): () => number {
  let lent = 0;
  const take = pool.take.bind(pool);
  const give = pool.give.bind(pool);
  pool.take = (bytes) => {
    lent++;
    return take(bytes);
  };
  pool.give = (buffer) => {
    lent--;
    give(buffer);
  };
  return () => lent;
}
