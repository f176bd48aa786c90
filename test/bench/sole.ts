// One benchmark at a time: its hosts, processes and directory have fixed names, and whoever starts removes what a killed run left there.
import { createServer } from "node:net";

/** Resolves once this process is the only one that holds `name`; it lets go when it ends, however it ends: an abstract socket (unix(7))
 *  has no file that could be left behind. Rejects while another holds it. */
export function holdAlone(name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createServer((one) => one.destroy());
    socket.once("error", (error: { code?: string }) => {
      const isHeld = error.code === "EADDRINUSE";
      const next = `wait for its end, or end it (\`ss -xlp | grep ${name}\` shows its pid)`;
      reject(isHeld ? new Error(`another benchmark runs on this machine: ${next}`) : error);
    });
    socket.listen(`\0${name}`, () => resolve());
  });
}
