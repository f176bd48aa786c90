// Makes one script for browsers of the page's modules and the layout library, and hands over the other files' text. In the Bun build
// it is a macro: it runs while the server's own code is bundled, and nothing of it is in the executable. From source under
// another runtime it runs once, when the server loads (page-from-source.ts).
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";

const place = (file: string): string => `${import.meta.dirname}/page/${file}`;
/** `npm ci` brings it. */
const BUNDLER = `${import.meta.dirname}/../../node_modules/.bin/bun`;

export function bundled(entry: string): string {
  const words = ["build", "--target=browser", "--minify", place(entry)];
  const bundler = process.versions.bun === undefined ? BUNDLER : process.execPath;
  if (!existsSync(bundler)) {
    throw new Error(`the dashboard's script cannot be made: there is no ${bundler}; run npm ci`);
  }
  return execFileSync(bundler, words, {
    encoding: "utf8",
    env: { ...process.env, BUN_BE_BUN: "1" },
  });
}

export const textOf = (file: string): string => readFileSync(place(file), "utf8");
