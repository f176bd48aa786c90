// The page's files by path. From source, a runtime that knows no macros refuses a file that asks for one, so that one is not loaded there.
const hasMacros = process.versions.bun !== undefined;
const isBuilt = process.env["IRONMESH_VERSION"] !== undefined;
const { HTML, SCRIPT, STYLE, ICON } =
  hasMacros || isBuilt
    ? await import("./page-in-bundle.ts")
    : await import("./page-from-source.ts");

export interface Asset {
  readonly type: string;
  readonly body: string;
}

/** By path. */
export const ASSETS: { readonly [path: string]: Asset } = {
  "/dashboard/": { type: "text/html; charset=utf-8", body: HTML },
  "/dashboard/page.js": { type: "text/javascript; charset=utf-8", body: SCRIPT },
  "/dashboard/page.css": { type: "text/css; charset=utf-8", body: STYLE },
  "/dashboard/icon.svg": { type: "image/svg+xml", body: ICON },
};
