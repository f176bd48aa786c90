// Written into the executable by build.ts (--define); a run from source says so. Plain `process.env.NAME` reads: only those are
// replaced.
declare global {
  namespace NodeJS {
    interface ProcessEnv {
      IRONMESH_VERSION?: string;
      IRONMESH_COMMIT?: string;
    }
  }
}

export const VERSION = process.env.IRONMESH_VERSION ?? "0.0.0-dev";
export const COMMIT = process.env.IRONMESH_COMMIT ?? "source";
