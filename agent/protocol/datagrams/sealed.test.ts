import { describe, expect, test } from "bun:test";
import { createCipheriv, createDecipheriv } from "node:crypto";
import fc from "fast-check";
import { type Aead, TAG_BYTES } from "../../base/datagrams.ts";
import { REPLAY_WINDOW, ReplayWindow } from "./replay-window.ts";
import {
  PAYLOAD_AT,
  SEALED_OVERHEAD,
  SEALED_PAYLOAD_MAX,
  SESSION_KEY_BYTES,
  SealedDatagrams,
  sessionKeys,
} from "./sealed.ts";

/** AES-128-GCM, by another path than agent/os takes. */
const aead = (key: Uint8Array): Aead => ({
  seal(nonce, aad, bytes, start, end) {
    const cipher = createCipheriv("aes-128-gcm", key, nonce);
    cipher.setAAD(aad);
    const sealed = Buffer.concat([cipher.update(bytes.slice(start, end)), cipher.final()]);
    bytes.set(Buffer.concat([sealed, cipher.getAuthTag()]), start);
  },
  open(nonce, aad, bytes, start, end) {
    const decipher = createDecipheriv("aes-128-gcm", key, nonce);
    decipher.setAAD(aad);
    decipher.setAuthTag(bytes.slice(end - TAG_BYTES, end));
    try {
      const plain = decipher.update(bytes.slice(start, end - TAG_BYTES));
      bytes.set(Buffer.concat([plain, decipher.final()]), start);
      return true;
    } catch {
      return false;
    }
  },
});

const EXPORTED = Uint8Array.from({ length: SESSION_KEY_BYTES }, (_, i) => i * 7);
const pair = () => ({
  dialler: new SealedDatagrams(sessionKeys(EXPORTED, "dialler", aead)),
  acceptor: new SealedDatagrams(sessionKeys(EXPORTED, "acceptor", aead)),
});

function sealed(by: SealedDatagrams, flow: number, payload: Uint8Array): Uint8Array {
  const out = new Uint8Array(payload.length + SEALED_OVERHEAD);
  expect(by.seal(flow, { bytes: payload, start: 0, end: payload.length }, out, 0)).toBe(out.length);
  return out;
}

function opened(by: SealedDatagrams, datagram: Uint8Array): unknown {
  const bytes = datagram.slice();
  const outcome = by.open(bytes, 0, bytes.length);
  return outcome === "opened"
    ? { flow: by.flow, payload: bytes.slice(PAYLOAD_AT, bytes.length - TAG_BYTES) }
    : outcome;
}

describe("sealed datagrams", () => {
  test("come out as they went in, both ways, empty and long ones too", () => {
    const { dialler, acceptor } = pair();
    for (const length of [0, 1, 15, 16, 1_200, SEALED_PAYLOAD_MAX]) {
      const payload = new Uint8Array(length).fill(length & 255);
      expect(opened(acceptor, sealed(dialler, 0xdead_beef, payload))).toEqual({
        flow: 0xdead_beef,
        payload,
      });
      expect(opened(dialler, sealed(acceptor, 1, payload))).toEqual({ flow: 1, payload });
    }
  });

  test("show nothing of the payload or the flow", () => {
    const { dialler } = pair();
    const datagram = sealed(dialler, 0x41424344, new TextEncoder().encode("a secret of somebody"));
    expect(Buffer.from(datagram).toString("latin1")).not.toContain("secret");
    expect(Buffer.from(datagram).toString("latin1")).not.toContain("ABCD");
  });

  test("one payload twice is two datagrams", () => {
    const { dialler } = pair();
    const payload = new Uint8Array(32);
    expect(sealed(dialler, 1, payload).slice(8)).not.toEqual(sealed(dialler, 1, payload).slice(8));
  });

  test("a datagram that was changed anywhere, cut or made longer is forged, and does not use up its counter", () => {
    const { dialler, acceptor } = pair();
    const good = sealed(dialler, 5, Uint8Array.of(1, 2, 3));
    for (let at = 0; at < good.length; at++) {
      const bad = good.slice();
      bad[at] = (bad[at] as number) ^ 0x10;
      expect(opened(acceptor, bad)).toBe("forged");
    }
    for (let length = 0; length < good.length; length++)
      expect(opened(acceptor, good.slice(0, length))).toBe("forged");
    expect(opened(acceptor, Uint8Array.of(...good, 0))).toBe("forged");
    expect(opened(acceptor, good)).toEqual({ flow: 5, payload: Uint8Array.of(1, 2, 3) });
  });

  test("what one end sent is not taken from the other: a reflected datagram is forged", () => {
    const { dialler } = pair();
    expect(opened(dialler, sealed(dialler, 1, new Uint8Array(4)))).toBe("forged");
  });

  test("a session of other keys opens nothing", () => {
    const { dialler } = pair();
    const other = EXPORTED.map((byte) => byte ^ 1);
    const acceptor = new SealedDatagrams(sessionKeys(other, "acceptor", aead));
    expect(opened(acceptor, sealed(dialler, 1, new Uint8Array(4)))).toBe("forged");
  });

  test("a datagram comes once, also out of order within the window", () => {
    const { dialler, acceptor } = pair();
    const sent = Array.from({ length: 64 }, (_, i) => sealed(dialler, i, new Uint8Array(2)));
    for (const datagram of sent.toReversed())
      expect(opened(acceptor, datagram)).toHaveProperty("flow");
    for (const datagram of sent) expect(opened(acceptor, datagram)).toBe("replayed");
  });

  test("garbage is forged, whatever its length", () => {
    const { acceptor } = pair();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(opened(acceptor, bytes)).toBe("forged");
      }),
      { seed: 25, numRuns: 500 },
    );
  });
});

describe("the replay window", () => {
  test("agrees with a set that remembers everything, within its width", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 5_000 }), { maxLength: 400 }), (counters) => {
        const window = new ReplayWindow();
        const seen = new Set<number>();
        let highest = -1;
        for (const counter of counters) {
          const isNew = !seen.has(counter) && highest - counter < REPLAY_WINDOW;
          expect(window.isNew(counter)).toBe(isNew);
          if (!isNew) continue;
          window.note(counter);
          seen.add(counter);
          highest = Math.max(highest, counter);
        }
      }),
      { seed: 25, numRuns: 300 },
    );
  });

  test("knows the highest counters too", () => {
    const window = new ReplayWindow();
    const far = 2 ** 52;
    window.note(far);
    expect([far, far - 1, far - REPLAY_WINDOW, far + 1].map((c) => window.isNew(c))).toEqual([
      false,
      true,
      false,
      true,
    ]);
  });
});
