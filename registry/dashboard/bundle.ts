// page-texts.ts as a macro: a file of its own, since a runtime that knows no macros also refuses every other import of what was asked for
// as one.
export { bundled, textOf } from "./page-texts.ts";
