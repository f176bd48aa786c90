// The CLI context of the demo stands in the operator's own file while the demo runs, so that printed commands work as pasted. Afterwards
// the file is as it was: whoever has a real mesh finds his own context current again.
import { type Contexts, contextsFile, readContexts, writeContexts } from "../contexts.ts";
import { CONTEXT } from "./operator.ts";

/** Returns what undoes it. To be called before the demo logs in. */
export function rememberContexts(): () => void {
  const file = contextsFile(process.env);
  const before = readContexts(file);
  // One that a killed demo left is no context to come back to; where there is but one other, that was it.
  const others = Object.keys(before.contexts).filter((name) => name !== CONTEXT);
  const current =
    before.current !== CONTEXT ? before.current : others.length === 1 ? others[0] : undefined;
  return () => {
    const { contexts } = readContexts(file);
    if (contexts[CONTEXT] === undefined) return;
    const { [CONTEXT]: _demo, ...others } = contexts;
    const restored: Contexts = { current, contexts: others };
    writeContexts(file, restored);
  };
}
