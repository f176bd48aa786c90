// A config server in a process of its own, to be killed: bun test/support/config-server-child.ts STATE_DIR [CONSUL_URL]
import { runServer } from "../../registry/main.ts";

const [, , stateDir = "", consulAddress] = process.argv;
process.exitCode = await runServer({
  stateDir,
  listen: "127.0.0.1:0",
  advertise: ["127.0.0.1"],
  logLevel: "error",
  ...(consulAddress === undefined ? {} : { registry: "consul", consulAddress }),
});
