// A network namespace with nothing in it, for as long as somebody needs one: rules can be tried in it, by the real programs on the real
// kernel, without this host's own being touched.
import { spawn } from "node:child_process";
import { err, ok, type Result } from "../../base/result.ts";
import { hostRunner, type Runner } from "./runner.ts";

export interface EmptyNetwork {
  readonly runner: Runner;
  close(): void;
}

/** It ends with this process at the latest: what keeps it reads from a pipe of ours. */
export function openEmptyNetwork(): Promise<Result<EmptyNetwork, string>> {
  return new Promise((resolve) => {
    const held = spawn("unshare", ["--net", "--", "sh", "-c", "echo up; exec cat"], {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/bin:/bin` },
    });
    let said = "";
    held.stdin.on("error", () => {}); // it left first: told below
    held.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (said.length < 1_000) said += text;
    });
    held.on("error", (error) => resolve(err(error.message)));
    held.on("close", () => resolve(err(said.trim() || "unshare ended")));
    held.stdout.once("data", () => {
      const runner = hostRunner(["nsenter", `--net=/proc/${held.pid}/ns/net`, "--"]);
      resolve(ok({ runner, close: () => held.stdin.end() }));
    });
  });
}
