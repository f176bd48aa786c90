import { describe, expect, test } from "bun:test";
import { serverWorkload } from "../../test/support/mesh-fixture.ts";
import { hostTag, tagOf } from "../api/decisions.ts";
import { type LogFields, SILENT_LOG } from "../base/log.ts";
import type { RequestView } from "../policy/request-view.ts";
import { DecisionBook, type Denial } from "./decision-book.ts";

const when = (...names: string[]) =>
  names.map((name) => ({ key: { is: "header", name } as const, values: ["x"] }));
const server = (...headers: string[]) =>
  serverWorkload({
    authorization: {
      deny: [],
      allow: [{ policy: "default/p", rules: [{ from: [], to: [], when: when(...headers) }] }],
    },
  });

const request = (path: string, headers: Record<string, string> = {}): RequestView => ({
  method: "GET",
  path,
  authority: "server",
  scheme: "http",
  header: (name) => headers[name],
});

const WORKLOAD = server();
const PROVEN = { identity: "spiffe://mesh/ns/default/sa/client", address: "10.0.0.1" };
const denial = (changes: Partial<Denial> = {}): Denial => ({
  cause: "authorization",
  by: "default/p",
  caller: PROVEN,
  workload: WORKLOAD,
  service: "server.default.mesh",
  destination: { address: "10.0.0.2", port: 8080 },
  request: request("/a?token=1"),
  ...changes,
});

class Kept {
  nowMs = 1_000_000;
  readonly lines: LogFields[] = [];
  readonly book = new DecisionBook(
    { nonce: 7, hashSeed: 3 },
    {
      wallMs: () => this.nowMs,
      log: { ...SILENT_LOG, info: (_, fields) => void this.lines.push(fields ?? {}) },
    },
  );
  constructor() {
    this.book.follow("north", { epoch: 1, version: 1 });
  }
}

describe("a decision", () => {
  test("has an id that leads to its host without naming it, and is found by it", () => {
    const { book } = new Kept();
    const id = book.note(denial());
    expect(id).toMatch(/^[0-9a-z]{6}-00007-1$/);
    expect(tagOf(id)).toBe(hostTag("north"));
    expect(id).not.toContain("north");
    expect(book.find(id)).toEqual({
      workload: WORKLOAD,
      record: {
        id,
        cause: "authorization",
        by: "default/p",
        firstAtMs: 1_000_000,
        lastAtMs: 1_000_000,
        times: 1,
        epoch: 1,
        version: 1,
        from: PROVEN,
        to: {
          workload: "default/server",
          service: "server.default.mesh",
          address: "10.0.0.2",
          port: 8080,
        },
        request: { method: "GET", path: "/a", host: "server", headers: [], notKept: [] },
      },
    });
    expect(book.find(`${id}0`)).toBeUndefined();
  });

  test("that is made again is the same, counted; any difference makes another", () => {
    const kept = new Kept();
    const { book } = kept;
    const id = book.note(denial());
    kept.nowMs += 5_000;
    expect(book.note(denial({ request: request("/a?token=2") }))).toBe(id);
    expect(book.find(id)?.record).toMatchObject({ times: 2, lastAtMs: 1_005_000 });
    const others = [
      denial({ request: request("/b") }),
      denial({ by: "default/q" }),
      denial({ caller: { ...PROVEN, address: "10.0.0.9" } }),
      denial({ destination: { address: "10.0.0.2", port: 81 } }),
      denial({ request: undefined }),
    ].map((one) => book.note(one));
    expect(new Set([id, ...others]).size).toBe(6);
    book.follow("north", { epoch: 1, version: 2 });
    expect(book.note(denial())).not.toBe(id);
  });

  test("keeps the policies of the last versions only", () => {
    const { book } = new Kept();
    const id = book.note(denial());
    for (let version = 2; version <= 4; version++) book.follow("north", { epoch: 1, version });
    expect(book.find(id)?.workload).toBe(WORKLOAD);
    book.follow("north", { epoch: 1, version: 5 });
    expect(book.find(id)).toMatchObject({ workload: undefined, record: { version: 1 } });
  });
});

describe("what is kept of a request", () => {
  test("is bounded: a long path and host are cut and said to be", () => {
    const { book } = new Kept();
    const long = { ...request(`/${"p".repeat(60_000)}`), authority: "h".repeat(300) };
    const { record } = book.find(book.note(denial({ request: long }))) ?? {};
    expect(record?.request?.path).toHaveLength(512);
    expect(record?.request?.host).toHaveLength(256);
    expect(record?.request?.notKept).toEqual([":path", ":authority"]);
    const query = request(`/a?${"q".repeat(60_000)}`);
    expect(book.find(book.note(denial({ request: query })))?.record.request).toMatchObject({
      path: "/a",
      notKept: [],
    });
  });

  test("is no header but those that a clause names, and of those no secret and nothing long", () => {
    const { book } = new Kept();
    const workload = server("x-team", "authorization", "cookie", "x-api-key", "x-long", "x-absent");
    const headers = {
      "x-team": "blue",
      "x-other": "never",
      authorization: "Bearer s3cret",
      cookie: "sid=s3cret",
      "x-api-key": "s3cret",
      "x-long": "l".repeat(129),
    };
    const asked = denial({ workload, request: request("/a", headers) });
    const found = book.find(book.note(asked));
    expect(found?.record.request?.headers).toEqual([["x-team", "blue"]]);
    expect(found?.record.request?.notKept).toEqual([
      "authorization",
      "cookie",
      "x-api-key",
      "x-long",
    ]);
    expect(JSON.stringify(found?.record)).not.toContain("s3cret");
  });
});

describe("a flood", () => {
  test("of strangers pushes out no record of a caller who proves who he is", () => {
    const { book } = new Kept();
    const ids = Array.from({ length: 8 }, (_, i) =>
      book.note(denial({ request: request(`/${i}`) })),
    );
    for (let i = 0; i < 20_000; i++)
      book.note(
        denial({
          caller: { identity: undefined, address: `192.0.${i % 256}.${i >> 8}` },
          request: request(`/${i}`),
        }),
      );
    expect(ids.map((id) => book.find(id)?.record.times)).toEqual(ids.map(() => 1));
  });

  test("of one proven caller leaves most others' records, and never takes more than its part", () => {
    const { book } = new Kept();
    const of = (name: string) => ({
      identity: `spiffe://mesh/ns/default/sa/${name}`,
      address: "a",
    });
    const others = Array.from({ length: 40 }, (_, i) => book.note(denial({ caller: of(`c${i}`) })));
    const flood = Array.from({ length: 5_000 }, (_, i) =>
      book.note(denial({ caller: of("mad"), request: request(`/${i}`) })),
    );
    expect(flood.filter((id) => book.find(id) !== undefined)).toHaveLength(16);
    expect(others.filter((id) => book.find(id) !== undefined).length).toBeGreaterThan(36);
  });

  test("is logged once a decision, and not more than ten lines a second", () => {
    const kept = new Kept();
    for (let i = 0; i < 100; i++) kept.book.note(denial());
    expect(kept.lines).toHaveLength(1);
    expect(kept.lines[0]).toMatchObject({ cause: "authorization", by: "default/p", path: "/a" });
    for (let i = 0; i < 100; i++) kept.book.note(denial({ request: request(`/${i}`) }));
    expect(kept.lines).toHaveLength(10);
    kept.nowMs += 1_000;
    kept.book.note(denial({ request: request("/last") }));
    expect(kept.lines[10]).toMatchObject({ path: "/last", refusalsNotLogged: 91 });
  });
});
