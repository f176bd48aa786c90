import { beforeEach, expect, test } from "bun:test";
import { VirtualClock } from "../../test/support/virtual-clock.ts";
import type { CertificateRequest } from "../api/session.ts";
import { SeededRandom } from "../base/clock.ts";
import { SILENT_LOG } from "../base/log.ts";
import { err, ok, type Result } from "../base/result.ts";
import { TrustBundle } from "../pki/trust-bundle.ts";
import { createRoot } from "../pki/x509.ts";
import { IdentityKeeper, RETRY_MAX_MS } from "./identity.ts";
import type { HeldIdentity } from "./identity-files.ts";
import type { RequestFailure } from "./server-client.ts";

const HOUR = 3_600_000;
const LIFETIME = 24 * HOUR;
const HOST = "spiffe://mesh.test/ns/ironmesh-system/sa/host.vm-1";
const A = "spiffe://mesh.test/ns/default/sa/a";
const B = "spiffe://mesh.test/ns/default/sa/b";
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const root = (await createRoot({ trustDomain: "mesh.test", nowMs: 0, lifetimeMs: HOUR }))
  .certificatePem;

/** Keys are numbered, certificates name what they are for: the keeper looks into neither. */
class World {
  readonly clock = new VirtualClock();
  readonly disk = new Map<string, HeldIdentity>();
  readonly asked: string[][] = [];
  readonly emitted: string[][] = [];
  answer: "issue" | "unreachable" | "deny B" | "wrong" = "issue";
  keys = 0;
  keeper = this.open();

  open(): IdentityKeeper {
    const trust = new TrustBundle("mesh.test");
    trust.replace([root]);
    return new IdentityKeeper(
      { host: "vm-1" },
      {
        files: {
          load: async () => [...this.disk.values()],
          write: async (held) => void this.disk.set(held.identity, held),
          remove: async (identity) => void this.disk.delete(identity),
        },
        client: { post: async (_path, body) => this.#post(body as CertificateRequest) },
        maker: {
          createCsr: async (identity) => ({ csrPem: identity, keyPem: `key ${++this.keys}` }),
          check: async ({ identity }, [leaf]) =>
            leaf === `certificate of ${identity}`
              ? ok({ notAfterMs: this.clock.wallMs() + LIFETIME })
              : err("it is for another"),
        },
        trust,
        clock: this.clock,
        timers: this.clock,
        random: new SeededRandom(5),
        log: SILENT_LOG,
        onIdentities: (held) =>
          this.emitted.push(held.map(({ identity, keyPem }) => `${identity} ${keyPem}`)),
        onTrust() {},
      },
    );
  }

  #post({ csrs }: CertificateRequest): Result<unknown, RequestFailure> {
    this.asked.push([...csrs]);
    if (this.answer === "unreachable") return err({ is: "unreachable", reason: "away" });
    if (this.answer === "deny B" && csrs.includes(B))
      return err({ is: "refused", status: 403, code: "identity_not_granted", message: "no" });
    const of = (csr: string): string => `certificate of ${this.answer === "wrong" ? "x" : csr}`;
    const issued = csrs.map((csr) => ({ identity: csr, certificates: [of(csr)] }));
    return ok({ issued, trustBundle: [root] });
  }

  async pass(ms: number, stepMs = 10_000): Promise<void> {
    for (let passed = 0; passed < ms; passed += stepMs) {
      this.clock.pass(Math.min(stepMs, ms - passed));
      await settled();
    }
  }

  /** Joined: the host's own identity is on disk. */
  async begin(): Promise<void> {
    const issuedAtMs = this.clock.wallMs();
    const notAfterMs = issuedAtMs + LIFETIME;
    this.disk.set(HOST, {
      identity: HOST,
      certificates: ["c"],
      keyPem: "key 0",
      issuedAtMs,
      notAfterMs,
    });
    await this.keeper.boot();
    this.keeper.start();
  }
}

let world: World;
beforeEach(async () => {
  world = new World();
  await world.begin();
});

test("a workload that appears gets key and certificate at once, on disk before they are handed out", async () => {
  await world.keeper.follow([A]);
  expect(world.asked).toEqual([[A]]);
  expect(world.disk.get(A)?.keyPem).toBe("key 1");
  expect(world.emitted.at(-1)).toEqual([`${HOST} key 0`, `${A} key 1`]);
});

test("a certificate is renewed with a new key between half and six tenths of its life, the old one serving until then", async () => {
  await world.keeper.follow([A]);
  await world.pass(0.499 * LIFETIME, 60_000);
  expect(world.asked).toHaveLength(1);
  expect(world.keeper.identities.map(({ keyPem }) => keyPem)).toEqual(["key 0", "key 1"]);
  await world.pass(0.102 * LIFETIME, 60_000);
  expect(world.asked.slice(1).flat().sort()).toEqual([A, HOST].sort());
  const keys = world.keeper.identities.map(({ keyPem }) => keyPem).sort();
  expect(keys).toEqual(["key 2", "key 3"]);
});

test("all are renewed at once when that is asked for, long before they are due", async () => {
  await world.keeper.follow([A]);
  expect(world.keeper.renewAll()).toBe(2);
  await world.pass(100, 10);
  expect(world.asked.slice(1).flat().sort()).toEqual([A, HOST].sort());
  expect(world.keeper.own?.keyPem).not.toBe("key 0");
});

test("while the server is away renewals are tried with back-off and the old certificate serves on", async () => {
  world.answer = "unreachable";
  await world.pass(0.61 * LIFETIME, 60_000);
  const before = world.asked.length;
  await world.pass(HOUR);
  const tries = world.asked.length - before;
  expect(tries).toBeGreaterThanOrEqual(HOUR / RETRY_MAX_MS - 2);
  expect(tries).toBeLessThan((2 * HOUR) / RETRY_MAX_MS + 2);
  expect(world.keeper.own?.keyPem).toBe("key 0");
  world.answer = "issue";
  await world.pass(2 * RETRY_MAX_MS);
  expect(world.keeper.own?.keyPem).not.toBe("key 0");
});

test("one identity that is refused does not cost the others theirs", async () => {
  world.answer = "deny B";
  const all = world.keeper.follow([A, B]);
  await world.pass(100, 10);
  expect(world.keeper.identities.map(({ identity }) => identity)).toEqual([HOST, A]);
  world.answer = "issue";
  await world.pass(10_000, 100);
  await all;
  expect(world.keeper.identities.map(({ identity }) => identity)).toEqual([HOST, A, B]);
});

test("a certificate for somebody else is not taken", async () => {
  world.answer = "wrong";
  void world.keeper.follow([A]);
  await world.pass(100, 10);
  expect(world.disk.has(A)).toBe(false);
  expect(world.keeper.identities.map(({ identity }) => identity)).toEqual([HOST]);
});

test("the key of a workload that left is forgotten, on disk too, and the host's own never", async () => {
  await world.keeper.follow([A, B]);
  await world.keeper.follow([B]);
  await settled();
  expect([...world.disk.keys()]).toEqual([HOST, B]);
  expect(world.emitted.at(-1)?.map((text) => text.split(" ")[0])).toEqual([HOST, B]);
});

test("a restart serves what is on disk and asks for nothing that is not due", async () => {
  await world.keeper.follow([A]);
  world.keeper.stop();
  const again = world.open();
  await again.boot();
  again.start();
  await again.follow([A]);
  await settled();
  expect(again.identities.map(({ keyPem }) => keyPem)).toEqual(["key 0", "key 1"]);
  expect(world.asked).toHaveLength(1);
});
