import { afterAll, beforeAll, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { SeededRandom } from "../../agent/base/clock.ts";
import { SILENT_LOG } from "../../agent/base/log.ts";
import { systemClock, systemTimers } from "../../agent/os/clock.ts";
import { storeContract } from "../../test/contract/store.contract.ts";
import { TestConsul } from "../../test/support/consul.ts";
import { ConsulClient } from "../consul/client.ts";
import { ConsulStore } from "./consul.ts";
import type { ConsulStoreConfig } from "./consul-state.ts";
import { type Commit, StoreUnavailable } from "./store.ts";

const SEAL_KEY = new Uint8Array(32).fill(7);
let server: TestConsul;
beforeAll(async () => {
  server = await TestConsul.start();
}, 30_000);
afterAll(() => server.stop());

const deps = () => ({
  consul: new ConsulClient({ url: server.url }),
  clock: systemClock(),
  timers: systemTimers(),
  random: new SeededRandom(1),
  log: SILENT_LOG,
});
const newPrefix = () => `mesh-${randomBytes(6).toString("hex")}`;
const open = (prefix: string, more: Partial<ConsulStoreConfig> = {}) =>
  ConsulStore.open({ prefix, epoch: 7, sealKey: SEAL_KEY, ...more }, deps());

storeContract(() => open(newPrefix()));

const document = (name: string) => ({
  apiVersion: "networking.istio.io/v1",
  kind: "VirtualService",
  metadata: { name, namespace: "default" },
  spec: {},
});
const put = (expectVersion: number, ...names: string[]): Commit => ({
  expectVersion,
  put: names.map(document),
  remove: [],
  putHosts: [],
  removeHosts: [],
  putAllocations: [],
  putDiscovered: [],
  removeDiscovered: [],
  who: "admin",
  what: names.map((name) => `apply ${name}`),
  atMs: 1,
});
const namesIn = async (store: ConsulStore) =>
  (await store.state()).resources.map((r) => r.document.metadata.name);

test("what one server wrote is seen by another, which is told, and is there after both restart", async () => {
  const prefix = newPrefix();
  const [first, second] = [await open(prefix), await open(prefix)];
  const told = new Promise<void>((resolve) => second.onForeignWrite(resolve));
  await first.commit(put(0, "a"));
  await told;
  expect(await namesIn(second)).toEqual(["a"]);
  expect(await second.commit(put(1, "b"))).toMatchObject({ ok: true, value: { version: 2 } });
  await first.close();
  await second.close();
  const third = await open(prefix);
  expect(await namesIn(third)).toEqual(["a", "b"]);
  expect(await third.position()).toEqual({ epoch: 7, version: 2 });
  await third.close();
});

test("two servers that write at once never lose each other's changes", async () => {
  const prefix = newPrefix();
  const stores = [await open(prefix), await open(prefix)];
  const write = async (store: ConsulStore, lane: number): Promise<void> => {
    for (let i = 0; i < 20; i++) {
      for (;;) {
        const { version } = await store.position();
        if ((await store.commit(put(version, `w${lane}-${i}`))).ok) break;
      }
    }
  };
  await Promise.all(stores.map(write));
  const again = await open(prefix);
  expect((await again.position()).version).toBe(40);
  expect(await namesIn(again)).toHaveLength(40);
  expect(await again.audit(100)).toHaveLength(40);
  for (const store of [...stores, again]) await store.close();
}, 20_000);

test("one token presented to two servers at once makes one host", async () => {
  const prefix = newPrefix();
  const stores = [await open(prefix), await open(prefix)];
  const [first, second] = stores;
  await first?.addToken({
    secretSha256: "aa",
    host: "vm-1",
    serviceAccounts: [],
    addresses: [],
    createdBy: "admin",
    createdAtMs: 0,
    expiresAtMs: 10,
  });
  const use = { secretSha256: "aa", host: "vm-1", atMs: 5, observedAddress: undefined };
  const uses = await Promise.all([first, second, first, second].map((s) => s?.useToken(use)));
  expect(uses.filter((u) => u?.ok)).toHaveLength(1);
  for (const store of stores) await store.close();
});

test("what one server added is known to another at once, also while that one is just being told", async () => {
  const prefix = newPrefix();
  const [first, second] = [await open(prefix), await open(prefix)];
  const refused: string[] = [];
  for (let i = 0; i < 200; i++) {
    const secretSha256 = `token ${i}`;
    await first.addToken({
      ...{ secretSha256, host: "vm-1", serviceAccounts: [], addresses: [], createdBy: "admin" },
      ...{ createdAtMs: i, expiresAtMs: i + 10 },
    });
    await new Promise((resolve) => setTimeout(resolve, i % 4));
    const use = { secretSha256, host: "vm-1", atMs: i, observedAddress: undefined };
    const found = await second.checkToken(use);
    if (!found.ok) refused.push(`${secretSha256}: ${found.error}`);
  }
  expect(refused).toEqual([]);
  await first.close();
  await second.close();
}, 20_000);

test("pages that a dead writer left are swept at the next start, and no page that is named", async () => {
  const prefix = newPrefix();
  const store = await open(prefix);
  await store.commit(put(0, "a", "b", "c"));
  await store.close();
  const left = `${prefix}/page/000000000001-dead-0-0`;
  const underWay = `${prefix}/page/000000000099-alive-0-0`;
  for (const key of [left, underWay]) await server.putText(key, "x");
  const again = await open(prefix);
  const keys = await server.ask<string[]>("GET", `/v1/kv/${prefix}/page/?keys`);
  expect(keys).not.toContain(left);
  expect(keys).toContain(underWay);
  expect(await namesIn(again)).toEqual(["a", "b", "c"]);
  await again.close();
});

test("overwritten pages do not pile up", async () => {
  const prefix = newPrefix();
  const store = await open(prefix);
  for (let version = 0; version < 10; version++) await store.commit(put(version, "a"));
  await store.close();
  expect(await server.ask<string[]>("GET", `/v1/kv/${prefix}/page/?keys`)).toHaveLength(1);
});

test("what somebody else wrote over the mesh's state is not believed, by a running server nor a starting one", async () => {
  const prefix = newPrefix();
  const store = await open(prefix);
  await store.commit(put(0, "a"));
  const [{ Value }] = await server.ask<[{ Value: string }]>("GET", `/v1/kv/${prefix}/head`);
  const forged = Buffer.from(Value, "base64").toString().replace('"version":1', '"version":9');
  expect(forged).toContain('"version":9');
  await server.putText(`${prefix}/head`, forged);
  await expect(store.commit(put(1, "b"))).rejects.toBeInstanceOf(StoreUnavailable);
  expect(await namesIn(store)).toEqual(["a"]);
  await expect(open(prefix)).rejects.toThrow("not sealed by this mesh's servers");
  await store.close();
});

test("a page that is not what was written is not believed", async () => {
  const prefix = newPrefix();
  const store = await open(prefix);
  await store.commit(put(0, "a"));
  await store.close();
  const [page] = await server.ask<string[]>("GET", `/v1/kv/${prefix}/page/?keys`);
  await server.putText(page ?? "", "[]");
  await expect(open(prefix)).rejects.toThrow("are missing in Consul");
});

test("another mesh's servers are refused, naming what to copy", async () => {
  const prefix = newPrefix();
  await (await open(prefix)).close();
  const foreign = open(prefix, { sealKey: new Uint8Array(32).fill(8) });
  await expect(foreign).rejects.toMatchObject({ next: expect.stringContaining("STATE_DIR/ca") });
});

test("a Consul that lost the mesh is not taken for a new one", async () => {
  const prefix = newPrefix();
  const seen = { epoch: 7, version: 3 };
  await expect(open(prefix, { seen })).rejects.toThrow("holds no mesh under");
  const older = await open(prefix);
  await older.close();
  await expect(open(prefix, { seen })).rejects.toThrow("holds version 0");
  const anew = await open(prefix, { seen, epoch: 9, replaceEpoch: true });
  expect(await anew.position()).toEqual({ epoch: 9, version: 0 });
  await anew.close();
});

test("with Consul away reads go on, writes are refused in words, and the next write after its return holds", async () => {
  const own = await TestConsul.start();
  const consul = new ConsulClient({ url: own.url });
  const config = { prefix: "mesh", epoch: 7, sealKey: SEAL_KEY };
  const store = await ConsulStore.open(config, { ...deps(), consul });
  await store.commit(put(0, "a"));
  await own.kill();
  expect(await namesIn(store)).toEqual(["a"]);
  const refused = await store.commit(put(1, "b")).catch((cause: unknown) => cause);
  expect(refused).toBeInstanceOf(StoreUnavailable);
  expect(String(refused)).toContain(`Consul at ${own.url} cannot be reached`);
  expect(String(refused)).toContain("nothing was stored");
  await own.resume();
  expect(await store.commit(put(1, "c"))).toMatchObject({ ok: true, value: { version: 2 } });
  const other = await ConsulStore.open(config, { ...deps(), consul });
  expect(await namesIn(other)).toEqual(["a", "c"]);
  await other.close();
  await store.close();
  await own.stop();
}, 60_000);

test("a Consul that forgot everything while we ran is not believed", async () => {
  const own = await TestConsul.start();
  const consul = new ConsulClient({ url: own.url });
  const store = await ConsulStore.open(
    { prefix: "mesh", epoch: 7, sealKey: SEAL_KEY },
    { ...deps(), consul },
  );
  await store.commit(put(0, "a"));
  await own.wipe();
  await expect(store.commit(put(1, "b"))).rejects.toThrow("holds no mesh under mesh/head");
  expect(await namesIn(store)).toEqual(["a"]);
  await store.close();
  await own.stop();
}, 60_000);
