// Some of the cases again with the whole mesh under Deno: config server, agents and commands run from the bundle of
// `bun build.ts --runtime deno`. Brief, since the whole benchmark waits for it (about 3 minutes).
import { rmSync } from "node:fs";
import { makeLauncher } from "../deno/launcher.ts";
import { newConnectionsCase, smallTcpCase } from "./connection-cases.ts";
import { http2Case } from "./http2-cases.ts";
import { idleOnceCase, startCase } from "./idle-cases.ts";
import { bulkCase, hopCase, type Pace, pairCase } from "./load-cases.ts";
import { AGENT_UID, type Mesh } from "./mesh.ts";
import type { Peers } from "./peers.ts";
import { type Row, resultTable } from "./table.ts";

export const DENO_PACE: Pace = { rounds: 3, seconds: 1, isBrief: true };

/** What is idle is measured before anything was loaded. */
const CASES: readonly ((mesh: Mesh, peers: Peers) => Promise<Row[]> | Row[])[] = [
  (mesh) => idleOnceCase(mesh),
  (mesh, peers) => hopCase(mesh, peers, DENO_PACE),
  (mesh, peers) => pairCase(mesh, peers, DENO_PACE),
  (mesh, peers) => bulkCase(mesh, peers, DENO_PACE),
  (mesh, peers) => smallTcpCase(mesh, peers, DENO_PACE),
  (mesh, peers) => newConnectionsCase(mesh, peers, DENO_PACE),
  (mesh) => http2Case(mesh, DENO_PACE),
  (mesh) => startCase(mesh, DENO_PACE.rounds),
];

/** `lab`: two hosts anew, with this `meshctl`. */
export async function underDeno(
  lab: (meshctl: string) => Promise<{ readonly mesh: Mesh; readonly peers: Peers }>,
): Promise<Row[]> {
  const deno = process.env["IRONMESH_DENO"];
  if (deno === undefined)
    throw new Error("no Deno: `IRONMESH_DENO=$(bash .ci/deno)` names one, as `npm run bench` does");
  const launcher = makeLauncher(deno, [0, AGENT_UID]);
  try {
    console.error("bench: deno");
    const { mesh, peers } = await lab(launcher.path);
    const rows: Row[] = [];
    for (const one of CASES) rows.push(...(await one(mesh, peers)));
    console.error(resultTable(rows));
    return rows;
  } finally {
    rmSync(launcher.directory, { recursive: true, force: true });
  }
}
