// In a file of its own because it is loaded late: the minifier of a split build breaks `await import()` of a CommonJS package.
export { default as CliTable } from "cli-table3";
