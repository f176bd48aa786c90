// `npm run bench [-- --only CASE --rounds N --seconds N]`: every case of the table in order, printed and, when all ran, written to
// docs/benchmarks.md. Cases: see CASES, and `deno`: some of them again, under that runtime (IRONMESH_DENO=$(bash .ci/deno), and its bundle).
import { existsSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { buildBoth } from "./build.ts";
import { changeCase } from "./change-case.ts";
import { newConnectionsCase, smallTcpCase } from "./connection-cases.ts";
import { consulCase } from "./consul-case.ts";
import { datagramCase } from "./datagram-case.ts";
import { DENO_PACE, underDeno } from "./deno-case.ts";
import { down, up } from "./hosts.ts";
import { http2Case } from "./http2-cases.ts";
import { connectionsCase, idleCase, startCase } from "./idle-cases.ts";
import { bulkCase, hopCase, type Pace, pairCase } from "./load-cases.ts";
import { BACKEND_UID, type Mesh, startMesh } from "./mesh.ts";
import { page } from "./page.ts";
import { type Peers, startBackend, startIperf, startPeers } from "./peers.ts";
import { scaleCase } from "./scale-case.ts";
import { holdAlone } from "./sole.ts";
import { steadyCase } from "./steady-cases.ts";
import { type Row, resultTable } from "./table.ts";

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    rounds: { type: "string", default: "7" },
    seconds: { type: "string", default: "3" },
    meshctl: { type: "string", default: "dist/meshctl" },
    builds: { type: "boolean", default: false },
  },
});
const pace: Pace = { rounds: Number(values.rounds), seconds: Number(values.seconds) };

// What is idle is measured before anything was loaded.
const CASES: { readonly [name: string]: (mesh: Mesh, peers: Peers) => Promise<Row[]> | Row[] } = {
  idle: (mesh) => idleCase(mesh),
  connections: (mesh) => connectionsCase(mesh),
  hop: (mesh, peers) => hopCase(mesh, peers, pace),
  pair: (mesh, peers) => pairCase(mesh, peers, pace),
  bulk: (mesh, peers) => bulkCase(mesh, peers, pace),
  small: (mesh, peers) => smallTcpCase(mesh, peers, pace),
  steady: (mesh, peers) => steadyCase(mesh, peers, pace),
  // Before the cases that declare more: agents that know of HTTP/2 load more when they start.
  start: (mesh) => startCase(mesh, pace.rounds),
  http2: (mesh) => http2Case(mesh, pace),
  consul: (mesh) => consulCase(mesh, pace),
  // Both start agents anew, which `steady` would show.
  new: (mesh, peers) => newConnectionsCase(mesh, peers, pace),
  // After `start`: what it declares stays, and agents that know of UDP load more when they start.
  datagrams: (mesh) => datagramCase(mesh, pace),
  change: () => changeCase(pace.rounds),
  // Last, since it adds the most.
  scale: (mesh) => scaleCase(mesh, pace),
};

const DENO = "deno";

function wanted(): string[] {
  const known = [...Object.keys(CASES), DENO];
  if (values.only === undefined) return known;
  const names = values.only.split(",");
  const unknown = names.find((name) => !known.includes(name));
  if (unknown !== undefined) {
    throw new Error(`no case ${unknown}; there are: ${known.join(", ")}`);
  }
  return names;
}

async function lab(meshctl: string): Promise<{ readonly mesh: Mesh; readonly peers: Peers }> {
  up();
  startBackend("a", undefined);
  startBackend("b", BACKEND_UID);
  startIperf();
  return { mesh: await startMesh(meshctl), peers: await startPeers() };
}

async function run(names: readonly string[]): Promise<Row[]> {
  const rows: Row[] = [];
  if (names.length === 0) return rows;
  const { mesh, peers } = await lab(values.meshctl);
  for (const name of names) {
    console.error(`bench: ${name}`);
    const found = (await CASES[name]?.(mesh, peers)) ?? [];
    console.error(resultTable(found)); // one that fails later takes none of it away
    rows.push(...found);
  }
  return rows;
}

if (process.getuid?.() !== 0) {
  throw new Error("the benchmark makes network namespaces: run it as root");
}
if (!values.builds && !existsSync(values.meshctl)) {
  throw new Error(`no ${values.meshctl}: \`npm run build\` makes it`);
}
const names = wanted();
try {
  await holdAlone("ironmesh-bench");
  if (values.builds) buildBoth();
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : error}`);
  process.exit(1);
}
try {
  const rows = await run(names.filter((name) => name !== DENO));
  console.log(resultTable(rows));
  const denoRows = names.includes(DENO) ? await underDeno(lab) : [];
  const text = page(rows, pace, { rows: denoRows, pace: DENO_PACE });
  if (values.only === undefined) {
    writeFileSync(fileURLToPath(new URL("../../docs/benchmarks.md", import.meta.url)), text);
  } else
    console.log(
      `\n${text.slice(text.indexOf(rows.length > 0 ? "## Under load" : "## Under Deno"))}`,
    );
} finally {
  down();
}
process.exit(0);
