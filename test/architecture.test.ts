// The map of the house, executable. `docs/architecture.md` explains it; this file decides.
import { expect, test } from "bun:test";
import { dirname, join, normalize } from "node:path";

/** Room -> rooms it may import. A room that is not named here does not exist: its files fail the test. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  "agent/base": [],
  "agent/api": ["agent/base"],
  "agent/protocol": ["agent/base"],
  "agent/membership": ["agent/base"],
  "agent/os": ["agent/base"],
  "agent/pki": ["agent/base", "agent/api"],
  "agent/policy": ["agent/base", "agent/api"],
  "agent/resilience": ["agent/base", "agent/policy"],
  "agent/observe": ["agent/base", "agent/api", "agent/policy"],
  "agent/proxy": [
    "agent/base",
    "agent/policy",
    "agent/protocol",
    "agent/resilience",
    "agent/observe",
  ],
  "agent/control": [
    "agent/base",
    "agent/api",
    "agent/pki",
    "agent/policy",
    "agent/membership",
    "agent/os",
    "agent/observe",
  ],
  "registry/consul": ["agent/base"],
  "registry/store": ["agent/base", "agent/api", "registry/consul"],
  "registry/catalog": ["agent/base", "agent/api", "registry/consul"],
  "registry/ca": ["agent/base", "agent/api", "agent/pki"],
  "registry/push": [
    "agent/base",
    "agent/api",
    "agent/pki",
    "agent/policy",
    "registry/store",
    "registry/catalog",
  ],
  "registry/http": [
    "agent/base",
    "agent/api",
    "agent/pki",
    "agent/policy",
    "registry/store",
    "registry/catalog",
    "registry/ca",
    "registry/push",
  ],
  "registry/dashboard": [
    "agent/base",
    "agent/api",
    "agent/policy",
    "registry/ca",
    "registry/http",
    "registry/push",
    "registry/store",
  ],
  cli: ["agent/base", "agent/api", "agent/policy", "systemd"],
  systemd: [], // unit files, carried as text
};

/** The few files that wire rooms together. They decide nothing. */
const WIRING = [
  "agent/main.ts",
  "agent/agent.ts",
  "agent/thread-setup.ts",
  "agent/worker.ts",
  "agent/datagrams-when-declared.ts",
  "agent/worker-datagrams.ts",
  "agent/worker-names.ts",
  "agent/lookups-when-used.ts",
  "agent/worker-lookups.ts",
  "agent/bootstrap.ts",
  "registry/main.ts",
  "registry/registry.ts",
  "cli/main.ts",
];

/** Rooms that are given bytes, time, randomness and sockets, and so never reach for them; and the only packages each may use. */
const SEALED: Record<string, readonly string[]> = {
  "agent/base": [],
  "agent/api": ["zod", "yaml", "re2js"],
  "agent/policy": ["re2js", "ipaddr.js"],
  "agent/protocol": ["dns-packet"],
  "agent/membership": ["tweetnacl"],
  "agent/resilience": [],
  "agent/proxy": [],
};
const REACHES_OUT =
  /\bDate\.now\b|\bnew Date\(\)|\bMath\.random\b|\bperformance\.now\b|\bset(?:Timeout|Interval|Immediate)\b|\bfetch\(|\bcrypto\.(?:getRandomValues|randomUUID)\b|\bprocess\./;

/** Only these may name the runtime; everything else runs on Bun and Deno alike. */
const RUNTIME_ROOMS = ["agent/os/"];
const NAMES_RUNTIME = /\bBun\.|\bDeno\.|["']bun:/;

const IMPORT =
  /\b(?:import|export)\s+(type\s)?[^"';]*?\bfrom\s+["']([^"']+)["']|^\s*import\s+()["']([^"']+)["']|\bimport\(()["']([^"']+)["']/gm;

const roomOf = (path: string): string | undefined =>
  Object.keys(MAY_IMPORT).find((room) => path.startsWith(`${room}/`));

type Import = { file: string; target: string; isType: boolean };

async function sources(): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for await (const file of new Bun.Glob("{agent,registry,cli}/**/*.ts").scan(".")) {
    if (!file.endsWith(".test.ts")) found.set(file, await Bun.file(file).text());
  }
  expect(found.size).toBeGreaterThan(5); // A checker that sees no files must not be green.
  return found;
}

async function imports(): Promise<Import[]> {
  return [...(await sources())].flatMap(([file, text]) =>
    [...text.matchAll(IMPORT)].map((m) => ({
      file,
      target: m[2] ?? m[4] ?? m[6] ?? "",
      isType: m[1] !== undefined,
    })),
  );
}

function isAllowed({ file, target, isType }: Import): boolean {
  if (WIRING.includes(file)) return true;
  const from = roomOf(file);
  if (from === undefined) return false;
  if (!target.startsWith(".")) return SEALED[from]?.includes(target) ?? true;
  const path = normalize(join(dirname(file), target));
  const to = roomOf(path);
  if (from === "cli" && to === "registry/http") return isType; // the client's types come from the server's routes
  return to === from || (to !== undefined && (MAY_IMPORT[from]?.includes(to) ?? false));
}

const path = ({ file, target }: Import): string => `${file} -> ${target}`;

test("every file lives in a room or is one of the few that wire", async () => {
  const homeless = [...(await sources()).keys()].filter(
    (file) => roomOf(file) === undefined && !WIRING.includes(file),
  );
  expect(homeless).toEqual([]);
});

test("rooms import only the rooms and packages they may", async () => {
  expect((await imports()).filter((i) => !isAllowed(i)).map(path)).toEqual([]);
});

test("sealed rooms reach for no clock, randomness, process or network", async () => {
  const guilty = [...(await sources())].filter(
    ([file, text]) => (roomOf(file) ?? "") in SEALED && REACHES_OUT.test(text),
  );
  expect(guilty.map(([file]) => file)).toEqual([]);
});

test("the runtime is named only where it is adapted", async () => {
  const guilty = [...(await sources())].filter(
    ([file, text]) =>
      !RUNTIME_ROOMS.some((room) => file.startsWith(room)) && NAMES_RUNTIME.test(text),
  );
  expect(guilty.map(([file]) => file)).toEqual([]);
});
