import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { storeContract } from "../../test/contract/store.contract.ts";
import { SqliteStore } from "./sqlite.ts";

storeContract(() => Promise.resolve(new SqliteStore({ path: ":memory:", epoch: 7 })));

async function inDirectory(run: (path: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "ironmesh-store-"));
  try {
    await run(join(directory, "store.sqlite"));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test("the epoch is kept when the file is opened again and rises when asked", async () => {
  await inDirectory(async (path) => {
    await new SqliteStore({ path, epoch: 7 }).close();
    const again = new SqliteStore({ path, epoch: 9 });
    expect(await again.position()).toEqual({ epoch: 7, version: 0 });
    await again.close();
    const replaced = new SqliteStore({ path, epoch: 3, replaceEpoch: true });
    expect(await replaced.position()).toEqual({ epoch: 8, version: 0 });
    await replaced.close();
  });
});

test("a second server on the same file is refused at start", async () => {
  await inDirectory(async (path) => {
    const first = new SqliteStore({ path, epoch: 7 });
    expect(() => new SqliteStore({ path, epoch: 7 })).toThrow("locked");
    await first.close();
  });
});
