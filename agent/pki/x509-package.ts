// @peculiar/x509 2.x needs a polyfill before its own first line runs, and imports do not promise that order of CommonJS packages: the
// runtime evaluates them as they load, a split build where their importer's own code begins. A late import does.
import "reflect-metadata";

export const x509 = await import("@peculiar/x509");
