// Starts agent/worker.ts as a thread, from source and from inside the executable alike.
import { isBun } from "./runtime.ts";

export interface ThreadPort<In, Out> {
  send(message: Out): void;
  /** onExit follows, once none of its code runs any more. */
  end(reason: string): void;
  stop(): void;
  readonly events: { onMessage(message: In): void; onExit(reason: string): void };
}

/** In an executable or a bundle the thread's file is an entry point of its own, found beside the bundle's root, where this file is. */
function workerUrl(): URL {
  const here = import.meta.url;
  return here.endsWith(".ts") ? new URL("../worker.ts", here) : new URL("./agent/worker.js", here);
}

/** Deno tells of no thread's end. One that threw runs no more code by then; one that was told to end while it ran has been seen to go
 *  on for six seconds. */
const DENO_ENDS_WITHIN_MS = 8_000;

let prepared: Worker | undefined;

/** A thread loads its code while this one goes on with its own: the next startThread() takes it. To be called once. */
export function prepareThread(): void {
  const worker = new Worker(workerUrl(), { type: "module" });
  prepared = worker;
  // It could not even load: startThread() makes another one, and tells how that ends.
  worker.addEventListener("close", () => {
    if (prepared === worker) prepared = undefined;
  });
}

export function startThread<In, Out>(events: ThreadPort<In, Out>["events"]): ThreadPort<In, Out> {
  const worker = prepared ?? new Worker(workerUrl(), { type: "module" });
  prepared = undefined;
  let hasEnded = false;
  let failure: string | undefined;
  const ended = (): void => {
    if (!hasEnded) events.onExit(failure ?? "the thread ended");
    hasEnded = true;
  };
  worker.onmessage = (event: MessageEvent) => events.onMessage(event.data as In);
  worker.onerror = (event: ErrorEvent) => {
    event.preventDefault();
    failure ??= reasonIn(event.message);
    worker.terminate();
    if (!isBun) ended();
  };
  // Only then is it certain that none of its code runs any more.
  worker.addEventListener("close", ended);
  return {
    events,
    send: (message) => worker.postMessage(message),
    end: (reason) => {
      failure ??= reason;
      worker.terminate();
      if (!isBun) setTimeout(ended, DENO_ENDS_WITHIN_MS).unref();
    },
    stop: () => {
      hasEnded = true;
      worker.terminate();
    },
  };
}

/** The runtime's message begins with an excerpt of the code, which in an executable is a page of it. */
function reasonIn(message: string): string {
  const at = message.lastIndexOf("\nerror: ");
  return (at < 0 ? message : message.slice(at + 1)).trim();
}
