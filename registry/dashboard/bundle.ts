// Runs while the server's own code is bundled, or loaded from source: a macro (its import says so). It makes one script for browsers
// of the page's modules and the layout library, and hands over the other files' text. Nothing of it is in the executable.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

const place = (file: string): string => `${import.meta.dirname}/page/${file}`;

export function bundled(entry: string): string {
  const words = ["build", "--target=browser", "--minify", place(entry)];
  return execFileSync(process.execPath, words, {
    encoding: "utf8",
    env: { ...process.env, BUN_BE_BUN: "1" },
  });
}

export const textOf = (file: string): string => readFileSync(place(file), "utf8");
