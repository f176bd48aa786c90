// The page's files by path. A runtime that knows no macros refuses a file that asks for one, so that file is not even named there.
const { HTML, SCRIPT, STYLE, ICON } =
  process.versions.bun === undefined
    ? await import("./page-from-source.ts")
    : await import("./page-in-bundle.ts");

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
