// An agent's upgrade in place, as the system sees it: the agent starts the executable that now lies where its own was started from, as its
// child, and passes it every listening socket as an inherited file descriptor. The child says on the channel between them that it
// serves; whatever else happens, the parent goes on as if it had never tried.
//
//   parent --spawn, sockets--> child: loads, adopts, serves --"serving"--> parent: accepts no more, drains, ends
//                                 \--ends, or silent for too long--> parent ends the child and goes on
import { err, ok, type Result } from "../base/result.ts";
import { openLibrary } from "./ffi.ts";
import type { KeptDescriptor } from "./notify.ts";
import { isBun } from "./runtime.ts";

/** Names of what was passed, in the order of their numbers. */
const NAMES = "IRONMESH_HANDED_OVER";
/** After standard input, output, error, and the channel. */
const FIRST_FD = 4;
const SOCKETS_MAX = 4_096;
const SERVING = "serving";
const F_SETFD = 2;
const FD_CLOEXEC = 1;
/** What this very process was started from: later the path may lead to another file, which is what we want then. */
const EXECUTABLE = process.execPath;

/** Resolves to the new process's id once it serves, or to why it does not. `words`: behind the executable's name. */
export function startSuccessor(
  words: readonly string[],
  sockets: readonly KeptDescriptor[],
  { withinMs, env }: { readonly withinMs: number; readonly env: Readonly<Record<string, string>> },
): Promise<Result<number, string>> {
  if (!isBun) {
    return Promise.resolve(err("under Deno an agent cannot be upgraded in place: restart it"));
  }
  if (sockets.length > SOCKETS_MAX) {
    return Promise.resolve(err(`${sockets.length} sockets are more than can be passed on`));
  }
  return new Promise((resolve) => {
    const { spawn } = process.getBuiltinModule("node:child_process"); // not at the start
    const child = spawn(EXECUTABLE, [...scriptOf(), ...words], {
      stdio: ["ignore", 1, 2, "ipc", ...sockets.map(({ fd }) => fd)],
      env: { ...process.env, ...env, [NAMES]: JSON.stringify(sockets.map(({ name }) => name)) },
    });
    const end = (outcome: Result<number, string>): void => {
      clearTimeout(timer);
      if (!outcome.ok) child.kill("SIGKILL");
      resolve(outcome);
    };
    const timer = setTimeout(
      () =>
        end(err(`the new process did not serve within ${withinMs / 1_000} s: its log says why`)),
      withinMs,
    );
    child.once("error", (cause) => end(err(`${EXECUTABLE} cannot be started: ${cause.message}`)));
    child.once("exit", (code, signal) =>
      end(err(`the new process ended with ${code ?? signal}: its log says why`)),
    );
    child.once("message", (message) => {
      if (message !== SERVING || child.pid === undefined) return;
      end(ok(child.pid));
      child.disconnect();
      child.unref();
    });
  });
}

/** From source the runtime's first word is a script; inside an executable that word is no file. */
const scriptOf = (): readonly string[] =>
  process.argv[1]?.includes("$bunfs") ? [] : process.argv.slice(1, 2);

export interface Predecessor {
  readonly sockets: readonly KeptDescriptor[];
  /** From now on connections are ours alone. */
  tellServing(): void;
}

/** Undefined: this process was started by no agent. To be called once. */
export function findPredecessor(): Predecessor | undefined {
  const text = process.env[NAMES];
  delete process.env[NAMES]; // our own children are no successors
  if (text === undefined || process.send === undefined) return undefined;
  const names: unknown = JSON.parse(text);
  if (!Array.isArray(names) || !names.every((name) => typeof name === "string")) {
    throw new Error(`${NAMES} is not what an agent passes on: start meshctl agent without it`);
  }
  const sockets = names.map((name: string, at) => ({ name, fd: FIRST_FD + at }));
  // A child of ours that lived longer than we do would keep their queues open, with nobody to accept.
  const { fcntl } = openLibrary("libc.so.6", { fcntl: "i32 i32 i32 i32" });
  for (const { fd } of sockets) fcntl(fd, F_SETFD, FD_CLOEXEC);
  return {
    sockets,
    tellServing: () => {
      process.send?.(SERVING); // the parent ends the channel
    },
  };
}
