// The page's files as text inside the executable: no file beside it is read, whatever directory it runs in.
import { bundled, textOf } from "./bundle.ts" with { type: "macro" };

export interface Asset {
  readonly type: string;
  readonly body: string;
}

/** One after the other: the last has what depends on the width of the window. */
const STYLE = textOf("drawing.css") + textOf("side.css") + textOf("page.css");

/** By path. */
export const ASSETS: { readonly [path: string]: Asset } = {
  "/dashboard/": { type: "text/html; charset=utf-8", body: textOf("index.html") },
  "/dashboard/page.js": { type: "text/javascript; charset=utf-8", body: bundled("main.ts") },
  "/dashboard/page.css": { type: "text/css; charset=utf-8", body: STYLE },
  "/dashboard/icon.svg": { type: "image/svg+xml", body: textOf("icon.svg") },
};
