// What every Store must do; each implementation's test calls this with a way to make an empty one.
import { afterEach, beforeEach, expect, test } from "bun:test";
import type { ResourceDocument } from "../../agent/api/session.ts";
import type { Commit, Store, TokenRecord } from "../../registry/store/store.ts";

const document = (name: string, spec: unknown = {}): ResourceDocument => ({
  apiVersion: "networking.istio.io/v1",
  kind: "VirtualService",
  metadata: { name, namespace: "default" },
  spec,
});
const change = (expectVersion: number, parts: Partial<Commit> = {}): Commit => ({
  expectVersion,
  put: [],
  remove: [],
  putHosts: [],
  removeHosts: [],
  putAllocations: [],
  putDiscovered: [],
  removeDiscovered: [],
  who: "admin",
  what: ["test"],
  atMs: 1000,
  ...parts,
});
const TOKEN: TokenRecord = {
  secretSha256: "aa",
  host: "vm-1",
  serviceAccounts: ["default/reviews"],
  addresses: [],
  createdBy: "admin",
  createdAtMs: 0,
  expiresAtMs: 10_000,
};
const use = { secretSha256: "aa", host: "vm-1", atMs: 5000, observedAddress: "10.0.0.7" };

let store: Store;

export function storeContract(make: () => Promise<Store>): void {
  beforeEach(async () => {
    store = await make();
  });
  afterEach(async () => {
    await store.close();
  });
  commitContract();
  tokenContract();
}

function commitContract(): void {
  test("a new store has an epoch, version 0 and nothing else", async () => {
    const state = await store.state();
    expect(state.epoch).toBeGreaterThan(0);
    expect(state).toMatchObject({ version: 0, resources: [], hosts: [], allocations: [] });
    expect(state.discovered).toEqual([]);
  });

  test("a commit raises the version by one and is read back whole", async () => {
    const { epoch } = await store.position();
    const first = await store.commit(change(0, { put: [document("a"), document("b")] }));
    expect(first).toEqual({ ok: true, value: { epoch, version: 1 } });
    await store.commit(change(1, { put: [document("b", { hosts: ["x"] })] }));
    const state = await store.state();
    expect(state.resources).toEqual([
      { document: document("a"), revision: 1 },
      { document: document("b", { hosts: ["x"] }), revision: 2 },
    ]);
  });

  test("a commit computed from an older version changes nothing and says conflict", async () => {
    await store.commit(change(0, { put: [document("a")] }));
    const late = await store.commit(
      change(0, {
        put: [document("b")],
        remove: [{ ...document("a"), namespace: "default", name: "a" }],
        putAllocations: [{ service: "s", index: 1 }],
      }),
    );
    expect(late).toEqual({ ok: false, error: "conflict" });
    const state = await store.state();
    expect(state.version).toBe(1);
    expect(state.resources.map((r) => r.document.metadata.name)).toEqual(["a"]);
    expect(state.allocations).toEqual([]);
  });

  test("the same kind and name under another version of the group is the same resource", async () => {
    await store.commit(change(0, { put: [document("a")] }));
    const beta = { ...document("a"), apiVersion: "networking.istio.io/v1beta1" };
    await store.commit(change(1, { put: [beta] }));
    expect((await store.state()).resources).toEqual([{ document: beta, revision: 2 }]);
  });

  test("a removed resource is gone", async () => {
    await store.commit(change(0, { put: [document("a")] }));
    const { apiVersion, kind } = document("a");
    await store.commit(
      change(1, { remove: [{ apiVersion, kind, namespace: "default", name: "a" }] }),
    );
    expect((await store.state()).resources).toEqual([]);
  });

  test("allocations are kept with the time they were freed, and an index can pass on", async () => {
    await store.commit(change(0, { putAllocations: [{ service: "a", index: 1 }] }));
    await store.commit(change(1, { putAllocations: [{ service: "a", index: 1, freedAtMs: 9 }] }));
    expect((await store.state()).allocations).toEqual([{ service: "a", index: 1, freedAtMs: 9 }]);
    await store.commit(change(2, { putAllocations: [{ service: "b", index: 1 }] }));
    expect((await store.state()).allocations).toEqual([{ service: "b", index: 1 }]);
  });

  test("a removed host is gone, its name free for another token, and the others stay", async () => {
    const host = (name: string) => ({
      ...{ name, serviceAccounts: [], addresses: ["10.0.0.7"] },
      ...{ areAddressesPinned: false, joinedAtMs: 1 },
    });
    await store.commit(change(0, { putHosts: [host("vm-1"), host("vm-2")] }));
    await store.commit(change(1, { removeHosts: ["vm-1", "vm-3"] }));
    expect(await store.host("vm-1")).toBeUndefined();
    expect((await store.state()).hosts.map(({ name }) => name)).toEqual(["vm-2"]);
    await store.addToken(TOKEN);
    expect((await store.useToken(use)).ok).toBe(true);
    expect((await store.state()).hosts.map(({ name }) => name)).toEqual(["vm-1", "vm-2"]);
  });

  test("services of other catalogs are kept by name, replaced whole and removed", async () => {
    const web = (port: number) => ({
      name: "web",
      protocol: "HTTP" as const,
      endpoints: [{ address: "10.0.0.9", port, weight: 1, labels: { version: "v1" } }],
    });
    const db = { name: "db", protocol: "" as const, endpoints: [] };
    await store.commit(change(0, { putDiscovered: [web(80), db] }));
    await store.commit(change(1, { putDiscovered: [web(81)] }));
    expect((await store.state()).discovered).toEqual([db, web(81)]);
    await store.commit(change(2, { removeDiscovered: ["db"] }));
    expect((await store.state()).discovered).toEqual([web(81)]);
  });

  test("a commit of more than any one value can hold is still one commit", async () => {
    const names = Array.from({ length: 300 }, (_, i) => `big-${String(i).padStart(4, "0")}`);
    const hosts = "x".repeat(10_000);
    const what = names.map((name) => `apply ${name} ${"y".repeat(300)}`);
    const put = names.map((name) => document(name, { hosts }));
    const done = await store.commit(change(0, { put, what }));
    expect(done).toMatchObject({ ok: true, value: { version: 1 } });
    const state = await store.state();
    expect(state.resources.map((r) => r.document.metadata.name)).toEqual(names);
    const first = await store.audit(1);
    expect(first[0]?.what).toBe(what.at(-1) ?? "");
    expect(await store.audit(1_000)).toHaveLength(300);
  });

  test("operators are kept by name and the audit tells who did what, newest first", async () => {
    await store.putOperator({ name: "admin", secretSha256: "cc", createdAtMs: 1 });
    await store.putOperator({ name: "admin", secretSha256: "dd", createdAtMs: 2 });
    expect(await store.operators()).toEqual([
      { name: "admin", secretSha256: "dd", createdAtMs: 2 },
    ]);
    await store.commit(change(0, { what: ["apply a", "apply b"], who: "ann" }));
    expect(await store.audit(1)).toEqual([{ version: 1, atMs: 1000, who: "ann", what: "apply b" }]);
  });
}

function tokenContract(): void {
  test("a token makes its host exactly once, with the address observed", async () => {
    await store.addToken(TOKEN);
    const joined = await store.useToken(use);
    expect(joined).toMatchObject({
      ok: true,
      value: { name: "vm-1", addresses: ["10.0.0.7"], serviceAccounts: ["default/reviews"] },
    });
    expect((await store.position()).version).toBe(1);
    expect(await store.host("vm-1")).toMatchObject({ areAddressesPinned: false });
    expect(await store.useToken(use)).toEqual({ ok: false, error: "token_used" });
    expect((await store.position()).version).toBe(1);
  });

  test("a token that is looked at says what its use would say, and stays unused", async () => {
    await store.addToken(TOKEN);
    for (let i = 0; i < 2; i++) expect(await store.checkToken(use)).toMatchObject({ ok: true });
    const wrong = [
      { ...use, secretSha256: "bb" },
      { ...use, host: "vm-2" },
      { ...use, atMs: 10_000 },
    ];
    for (const one of wrong) expect(await store.checkToken(one)).toEqual(await store.useToken(one));
    expect((await store.position()).version).toBe(0);
    expect((await store.useToken(use)).ok).toBe(true);
    expect(await store.checkToken(use)).toEqual({ ok: false, error: "token_used" });
  });

  test("of many uses of one token at once exactly one succeeds", async () => {
    await store.addToken(TOKEN);
    const uses = await Promise.all(Array.from({ length: 20 }, () => store.useToken(use)));
    expect(uses.filter((u) => u.ok)).toHaveLength(1);
  });

  test("addresses stated by the token win over the observed one", async () => {
    await store.addToken({ ...TOKEN, addresses: ["10.1.1.1"] });
    await store.useToken(use);
    expect(await store.host("vm-1")).toMatchObject({
      addresses: ["10.1.1.1"],
      areAddressesPinned: true,
    });
  });

  test("an unknown, an expired and another host's token are refused and stay unused", async () => {
    await store.addToken(TOKEN);
    const refusals = [
      await store.useToken({ ...use, secretSha256: "bb" }),
      await store.useToken({ ...use, host: "vm-2" }),
      await store.useToken({ ...use, atMs: 10_000 }),
    ];
    expect(refusals.map((r) => (r.ok ? "ok" : r.error))).toEqual([
      "token_unknown",
      "token_wrong_host",
      "token_expired",
    ]);
    expect(await store.host("vm-1")).toBeUndefined();
    expect((await store.useToken(use)).ok).toBe(true);
  });
}
