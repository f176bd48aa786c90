// The page's files as text inside the executable: no file beside it is read, whatever directory it runs in.
import { bundled, textOf } from "./bundle.ts" with { type: "macro" };

export const HTML = textOf("index.html");
export const SCRIPT = bundled("main.ts");
/** One after the other: the last has what depends on the width of the window. */
export const STYLE = textOf("drawing.css") + textOf("side.css") + textOf("page.css");
export const ICON = textOf("icon.svg");
