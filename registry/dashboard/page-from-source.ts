// The page's files as text, made when this loads: for runtimes that know no macros.
import { bundled, textOf } from "./page-texts.ts";

export const HTML = textOf("index.html");
export const SCRIPT = bundled("main.ts");
export const STYLE = textOf("drawing.css") + textOf("side.css") + textOf("page.css");
export const ICON = textOf("icon.svg");
