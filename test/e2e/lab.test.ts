// The demo's ground without the mesh on it: hosts, an ordinary resolver, the bookstore over plain HTTP, and a capture that can read it.
// What the demo's check later does not find on the wire, it has been shown to be able to find.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { Capture, isAllTlsRecords } from "../../cli/demo/capture.ts";
import { Lab, removeLab } from "../../cli/demo/lab.ts";
import {
  addressOf,
  hostNamed,
  hostOf,
  namespaceOf,
  ORDINARY_NAME,
  UID,
} from "../../cli/demo/layout.ts";
import type { MeasureJob, MeasureResult } from "../../cli/demo/parts/measure.ts";
import { PROGRAMS, partCommand, startProgram, startResolver } from "../../cli/demo/programs.ts";
import { missingRequirements } from "../../cli/demo/requirements.ts";
import { logPath, runningDemo, writeRunDirectory } from "../../cli/demo/run-directory.ts";
import { run } from "../../cli/demo/shell.ts";

setDefaultTimeout(30_000);
const missing = await missingRequirements();
/** The executable, not the sources: hosts show it to users whom a checkout under /root is closed to. */
const EXECUTABLE = resolve("dist/meshctl");
if (!existsSync(EXECUTABLE)) missing.push(`${EXECUTABLE} is not built: run \`npm run build\`.`);
if (missing.length > 0) console.error(`SKIPPED: ${missing.join(" ")}`);
/** Only what this file made is taken down: a person's demo may be running here. */
let isOurs = false;
const lab = new Lab([EXECUTABLE]);
const urlOf = (name: "details" | "ratings" | "reviews-v3", port: number): string =>
  `http://${addressOf(hostOf(name))}:${port}`;

beforeAll(async () => {
  if (missing.length > 0) return;
  if (runningDemo() !== undefined) throw new Error("stop the demo that runs on this machine first");
  isOurs = true;
  await removeLab();
  writeRunDirectory();
  await lab.up();
  const env = {
    DETAILS_URL: urlOf("details", 9080),
    REVIEWS_URL: urlOf("reviews-v3", 9080),
    RATINGS_URL: urlOf("ratings", 9081),
  };
  const started = [startResolver(lab), ...PROGRAMS.map((one) => startProgram(lab, one, env))];
  expect(started.every((child) => child.pid !== undefined)).toBe(true);
});
afterAll(() => (isOurs ? lab.down() : undefined));

async function measure(host: string, uid: number, job: MeasureJob): Promise<MeasureResult> {
  const finished = await lab.run(namespaceOf(hostNamed(host)), partCommand(lab, "measure", job), {
    uid,
  });
  if (finished.code !== 0) throw new Error(finished.stderr);
  return JSON.parse(finished.stdout) as MeasureResult;
}

const page = (host: string): MeasureJob => ({
  is: "requests",
  host,
  port: 9080,
  authority: "productpage:9080",
  path: "/productpage",
  headers: { "end-user": "jason" },
  times: 1,
  connections: 1,
  countGroup: 'id="reviews-version">([^<]+)<',
  timeoutMs: 5_000,
});

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await Bun.sleep(50);
}

test.skipIf(missing.length > 0)(
  "the bookstore's page shows details and coloured stars, from programs on four hosts",
  async () => {
    const target = addressOf(hostNamed("web"));
    await until(
      async () => (await measure("south", UID.stranger, page(target))).groups["v3"] === 1,
    );
    const { last } = await measure("south", UID.stranger, page(target));
    expect(last.body).toContain("signed in as jason");
    expect(last.body).toContain("William Shakespeare");
    expect(last.body).toContain('color:red">★★★★★');
  },
);

test.skipIf(missing.length > 0)(
  "an ordinary name resolves through the router's resolver, and another does not exist",
  async () => {
    const ask = (name: string) =>
      lab.run(namespaceOf(hostNamed("web")), ["getent", "hosts", name], { uid: UID.stranger });
    await until(async () => (await ask(ORDINARY_NAME)).code === 0);
    expect((await ask(ORDINARY_NAME)).stdout).toStartWith("10.77.1.1");
    expect((await ask("nobody.example.test")).code).not.toBe(0);
  },
);

test.skipIf(missing.length > 0)(
  "a capture on the router reads plain HTTP between hosts",
  async () => {
    const capture = await Capture.start(lab, logPath("capture"));
    await measure("south", UID.stranger, page(addressOf(hostNamed("web"))));
    const flows = await capture.stop();
    const requests = flows.filter(({ payload }) => payload.includes("GET /reviews/0 HTTP/1.1"));
    expect(requests).toHaveLength(1);
    expect(isAllTlsRecords(requests[0]?.payload ?? Buffer.alloc(0))).toBe(false);
  },
);

test.skipIf(missing.length > 0)("what was made is gone after it is taken down", async () => {
  await lab.down();
  expect((await run(["ip", "netns"])).stdout).not.toContain("im-demo-");
  expect(
    (await run(["ls", "/run/netns", "/etc/netns", "/run/ironmesh-demo"])).stdout,
  ).not.toContain("im-demo");
});
