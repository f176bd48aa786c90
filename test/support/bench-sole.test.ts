import { expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { holdAlone } from "../bench/sole.ts";

test("a second benchmark is refused while the first runs, and not after it was killed", async () => {
  const name = `ironmesh-sole-${process.pid}`;
  const path = new URL("../bench/sole.ts", import.meta.url).pathname;
  const script = `
    await (await import(${JSON.stringify(path)})).holdAlone(${JSON.stringify(name)});
    console.log("held");
    setInterval(() => {}, 1_000);`;
  const first = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  await once(first.stdout, "data");
  await expect(holdAlone(name)).rejects.toThrow(`another benchmark runs on this machine`);
  first.kill("SIGKILL");
  await once(first, "exit");
  await holdAlone(name);
  await expect(holdAlone(name)).rejects.toThrow("wait for its end");
});
