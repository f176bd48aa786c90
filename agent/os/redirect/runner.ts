// Running the host's firewall programs. Tests put `ip netns exec NAME` in front; nothing else ever differs.

export interface Ran {
  /** 127: there is no such program. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that stays and reads commands, one a line; it ends with us, since its input does. */
export interface Feed {
  write(line: string): void;
  /** Resolves when it has done what it was told, or is gone. */
  end(): Promise<void>;
  readonly isAlive: boolean;
  /** The last thing it complained about. */
  readonly complaint: string;
}

export interface Runner {
  run(argv: readonly string[], input?: string): Promise<Ran>;
  feed(argv: readonly string[]): Feed;
}

/** No firewall command takes this long unless the kernel or another program's lock is stuck. */
const RUN_MAX_MS = 15_000;
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

export function hostRunner(prefix: readonly string[] = []): Runner {
  return {
    run: (argv, input) => runProgram([...prefix, ...argv], input),
    feed: (argv) => feedProgram([...prefix, ...argv]),
  };
}

function runProgram(argv: readonly string[], input: string | undefined): Promise<Ran> {
  return new Promise((resolve) => {
    const [program = "", ...args] = argv;
    const { spawn } = process.getBuiltinModule("node:child_process"); // not before traffic flows
    const child = spawn(program, args, {
      stdio: ["pipe", "pipe", "pipe"],
      timeout: RUN_MAX_MS,
      env: environment(),
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      if (stdout.length < OUTPUT_BYTES_MAX) stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (stderr.length < 65_536) stderr += text;
    });
    child.stdin.on("error", () => {}); // it left before it read all: its exit code says why
    child.on("error", (error: NodeJS.ErrnoException) => {
      resolve({ code: error.code === "ENOENT" ? 127 : 126, stdout, stderr: error.message });
    });
    child.on("close", (code, signal) => {
      resolve({
        code: code ?? 125,
        stdout,
        stderr: signal === null ? stderr : `${stderr} (ended by ${signal})`,
      });
    });
    child.stdin.end(input ?? "");
  });
}

function feedProgram(argv: readonly string[]): Feed {
  const [program = "", ...args] = argv;
  const { spawn } = process.getBuiltinModule("node:child_process");
  const child = spawn(program, args, { stdio: ["pipe", "ignore", "pipe"], env: environment() });
  const state = { isAlive: true, complaint: "" };
  const closed = Promise.withResolvers<void>();
  child.on("error", (error) => {
    state.isAlive = false;
    state.complaint = error.message;
    closed.resolve();
  });
  child.on("close", () => {
    state.isAlive = false;
    closed.resolve();
  });
  child.stdin.on("error", () => {
    state.isAlive = false;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    state.complaint = text.trim().slice(-300);
  });
  return {
    write(line) {
      if (state.isAlive) child.stdin.write(`${line}\n`);
    },
    end() {
      child.stdin.end();
      return closed.promise;
    },
    get isAlive() {
      return state.isAlive;
    },
    get complaint() {
      return state.complaint;
    },
  };
}

/** /usr/sbin is not on every user's path, and translated messages could not be recognised. */
const environment = (): NodeJS.ProcessEnv => ({
  ...process.env,
  LC_ALL: "C",
  PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin:/usr/bin:/bin`,
});
