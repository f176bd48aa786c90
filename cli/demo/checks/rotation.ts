// Step 8: certificates that live 15 seconds, the config server's own included, are replaced three times while pages are asked for. By
// then the first ones have long expired: whatever still depended on one would show.
import { connect } from "node:tls";
import { adminSocketOf, agentCertificates } from "../agents.ts";
import { HOSTS, namespaceOf, UID } from "../layout.ts";
import { until } from "../until.ts";
import { type CheckContext, holds, type Step } from "./step.ts";
import { underLoad } from "./under-load.ts";
import { untilConnected } from "./without-server.ts";

const LIFETIME_S = 15;
const ROTATIONS = 3;
/** Three times six tenths of a life, and room for a machine that is slow. */
const WITHIN_MS = 60_000;
const SETTLES_WITHIN_MS = 20_000;

export const rotation: Step = {
  number: 8,
  claim: `certificates of ${LIFETIME_S} s rotate ${ROTATIONS} times under load, the server's own too`,
  async run(context) {
    await restartServer(context, ["--certificate-lifetime", `${LIFETIME_S}`]);
    const figures = await underLoad(context, () => rotate(context));
    await restartServer(context, []);
    const lives = (await certificates()).map((one) => one.notAfterMs - one.issuedAtMs);
    holds(Math.min(...lives) > 3_600_000, () => "a certificate of the test's lifetime is left");
    return figures;
  },
};

/** With this lifetime; returns once every host has certificates of it. */
async function restartServer(
  { demo, say }: CheckContext,
  options: readonly string[],
): Promise<void> {
  say(`the server starts again${options.length === 0 ? "" : ` with ${options.join(" ")}`}`);
  await demo.server.stop("SIGTERM");
  demo.serverOptions = options;
  await demo.server.start();
  await untilConnected(true);
  await Promise.all(
    HOSTS.map(async (host) => {
      const command = demo.lab.meshctl("renew", "--admin", adminSocketOf(host));
      const { code, stderr } = await demo.lab.run(namespaceOf(host), command, { uid: UID.agent });
      holds(code === 0, () => `meshctl renew on ${host.name}: ${stderr}`);
    }),
  );
}

interface Seen {
  readonly key: string;
  readonly issuedAtMs: number;
  readonly notAfterMs: number;
}

/** All that the agents hold now; `key`: whose on which host. */
async function certificates(): Promise<readonly Seen[]> {
  const all = await Promise.all(HOSTS.map(agentCertificates));
  return all.flatMap((held, i) =>
    held.map(({ identity, issuedAtMs, notAfterMs }) => {
      return { key: `${HOSTS[i]?.name} ${identity}`, issuedAtMs, notAfterMs };
    }),
  );
}

async function rotate({ demo, say }: CheckContext): Promise<string> {
  const seen = new Map<string, Set<number | string>>();
  const note = (key: string, value: number | string): void => {
    seen.set(key, (seen.get(key) ?? new Set()).add(value));
  };
  const startedMs = performance.now();
  const fewest = (): number => Math.min(...[...seen.values()].map((one) => one.size)) - 1;
  await until(
    `${ROTATIONS} rotations of each certificate`,
    WITHIN_MS,
    async () => {
      for (const { key, issuedAtMs, notAfterMs } of await certificates()) {
        note(key, issuedAtMs);
        holds(notAfterMs - issuedAtMs <= LIFETIME_S * 1_000, () => `${key} lives longer than told`);
        holds(notAfterMs > Date.now(), () => `${key} expired before it was replaced`);
      }
      note("the config server", await serialShown(demo.serverPort));
      say(`${fewest()} of ${ROTATIONS} rotations`);
      await new Promise((resolve) => setTimeout(resolve, 250));
      return fewest() >= ROTATIONS;
    },
    () => `${fewest()} rotations`,
  );
  const seconds = ((performance.now() - startedMs) / 1_000).toFixed(1);
  return `${seen.size} certificates replaced ${ROTATIONS} times or more in ${seconds} s`;
}

/** Of the certificate that a new connection to the config server is shown; nothing is sent on it. */
function serialShown(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: "127.0.0.1", rejectUnauthorized: false }, () => {
      const { serialNumber } = socket.getPeerCertificate();
      socket.destroy();
      resolve(serialNumber);
    });
    socket.setTimeout(SETTLES_WITHIN_MS, () => socket.destroy(new Error("no TLS in time")));
    socket.on("error", reject);
  });
}
