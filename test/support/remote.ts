// The test's side of a process on another host (remote-kit.ts): functions are sent as their source and run there. Such a function
// may use its arguments and the kit and nothing else, since what it closes over here does not exist there.
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import type { Kit } from "./remote-kit.ts";

interface Waiting {
  resolve(value: unknown): void;
  reject(reason: Error): void;
}

export class Remote {
  readonly #child: ChildProcess;
  readonly #where: string;
  readonly #waiting = new Map<number, Waiting>();
  #last = 0;

  constructor(child: ChildProcess, where: string) {
    this.#child = child;
    this.#where = where;
    if (child.stdout === null) throw new Error("a remote process has an output");
    createInterface({ input: child.stdout }).on("line", (line) => {
      const { id, value, error } = JSON.parse(line) as {
        id: number;
        value?: unknown;
        error?: string;
      };
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(value);
      else waiting?.reject(new Error(`${where}: ${error}`));
    });
    child.once("exit", (code) => {
      for (const { reject } of this.#waiting.values())
        reject(new Error(`${where} ended with ${code}`));
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  run<A extends readonly unknown[], R>(
    work: (kit: Kit, ...args: A) => R | Promise<R>,
    ...args: A
  ): Promise<R> {
    const { promise, resolve, reject } = Promise.withResolvers<R>();
    const id = ++this.#last;
    this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject });
    this.#child.stdin?.write(`${JSON.stringify({ id, source: String(work), args })}\n`);
    if (this.#child.exitCode !== null) reject(new Error(`${this.#where} has ended`));
    return promise;
  }
}
