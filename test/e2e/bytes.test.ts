// Whose bytes, how many of them, and what carrying them costs: large bodies in constant memory, and a thousand conversations at once
// of which none may see another's. The agents poison every buffer they give back.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { canRun } from "../support/hosts.ts";
import { Mesh } from "./mesh.ts";
import { UID } from "./ports.ts";
import type { Outcome } from "./tagged-conversation.ts";

setDefaultTimeout(600_000);
const suite = "bytes end to end";
const isFull = process.env["IRONMESH_TIER"] === "full";
const LARGE_BYTES = isFull ? 1_000_000_000 : 64_000_000;
/** What one large body may add to an agent's resident memory: what the runtime's TLS allocated and has not yet collected (measured:
 *  27 to 37 MB after 64 MB, 39 to 63 MB after 1 GB), and not the body. */
const GROWTH_BYTES_MAX = isFull ? 120_000_000 : 60_000_000;

describe.skipIf(!(await canRun(suite)))(suite, () => {
  let mesh: Mesh;
  let vip: { vip4: string; vip6: string };

  beforeAll(async () => {
    mesh = await Mesh.up();
    vip = await mesh.vipOf("web.default.mesh");
  });
  afterAll(() => mesh.down());

  /** Peak of each agent's resident memory while something runs, over what it was before. */
  async function growthDuring(work: () => Promise<unknown>): Promise<{ a: number; b: number }> {
    const before = { a: mesh.rssOf("a"), b: mesh.rssOf("b") };
    const peak = { ...before };
    const sampling = setInterval(() => {
      for (const host of ["a", "b"] as const) peak[host] = Math.max(peak[host], mesh.rssOf(host));
    }, 10);
    try {
      await work();
    } finally {
      clearInterval(sampling);
    }
    return { a: peak.a - before.a, b: peak.b - before.b };
  }
  const told = (what: string, growth: { a: number; b: number }): void =>
    console.log(
      `${what} of ${LARGE_BYTES / 1e6} MB: RSS grew by ${(growth.a / 1e6).toFixed(1)} MB (sender's agent), ${(growth.b / 1e6).toFixed(1)} MB (app's agent)`,
    );

  test("a large download and a large upload pass whole in constant memory", async () => {
    for (let i = 0; i < 3; i++) await mesh.curl("http://web/size/1000000", "-o", "/dev/null");
    const down = await growthDuring(async () => {
      const { body, code } = await mesh.curl(
        ...["-m", "300", "-o", "/dev/null", "-w", "%{size_download}\n%{http_code} 0"],
        `http://web/size/${LARGE_BYTES}`,
      );
      expect([body.trim(), code]).toEqual([`${LARGE_BYTES}`, "200"]);
    });
    told("download", down);
    const up = await growthDuring(async () => {
      const send = `head -c ${LARGE_BYTES} /dev/zero | curl -sS -m 300 -T - http://web/count`;
      const { stdout } = await mesh.hosts.run(
        "a",
        ["sh", "-c", send],
        { uid: UID.client },
        300_000,
      );
      expect(stdout).toBe(`${LARGE_BYTES}
`);
    });
    told("upload", up);
    for (const growth of [down, up]) {
      expect(growth.a).toBeLessThan(GROWTH_BYTES_MAX);
      expect(growth.b).toBeLessThan(GROWTH_BYTES_MAX);
    }
  });

  test("of 1,000 interleaved connections with tagged bodies, pipelining and resets over 4 workers none sees another's byte", async () => {
    const outcome: Outcome = await mesh.taggedConversations({
      host: vip.vip4,
      port: 80,
      connections: 1_000,
      atOnce: 200,
      requests: isFull ? 12 : 4,
      seed: 7,
    });
    console.log(JSON.stringify(outcome));
    expect(outcome.foreign).toEqual([]);
    // Half are answered once they are whole, and of those a quarter is reset by the client: 375.
    expect(outcome.whole).toBeGreaterThan(300);
    expect(outcome.breaks).toEqual([]);
    expect(outcome.whole + outcome.reset + outcome.announced).toBe(1_000);
    expect(mesh.log("agent-a") + mesh.log("agent-b")).not.toContain('"level":"error"');
  });
});
