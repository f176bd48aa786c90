// @peculiar/x509 2.x needs this polyfill before its own first line runs. Import this file in place of the package: a split build
// evaluates a CommonJS package only where its importer's own code begins, which is after all other imports.
import "reflect-metadata";
