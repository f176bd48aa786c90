// A service manager's socket, as sd_notify(3) speaks to it.
import { mapArena, openLibrary } from "../../agent/os/ffi.ts";
import { AF_UNIX, openLibc, SOCK_DGRAM } from "../../agent/os/libc.ts";

/** The manager's end, by libc: the runtime has no unix datagrams. Messages wait in the kernel until they are asked for. */
export function notifyManager(address: string) {
  const libc = { ...openLibc(), ...openLibrary("libc.so.6", { recvmsg: "i32 i32 at i32" }) };
  const { base, bytes, words } = mapArena(16_384);
  const path = Buffer.from(address);
  if (address.startsWith("@")) path[0] = 0;
  bytes.set([AF_UNIX, 0, ...path]);
  const socket = libc.socket(AF_UNIX, SOCK_DGRAM, 0);
  if (libc.bind(socket, base, 2 + path.length) !== 0) throw new Error(`cannot bind ${address}`);
  return {
    /** The next message; -1: no descriptor came with it. */
    next(): { text: string; fd: number } {
      words.set([base + 8_192, 0, 4_096, 0], 512 >> 2);
      words.set([0, 0, 0, 0, base + 512, 0, 1, 0, base + 1_024, 0, 256, 0, 0, 0], 256 >> 2);
      const count = libc.recvmsg(socket, base + 256, 0);
      const hasControl = (words[(256 + 40) >> 2] as number) > 0;
      const text = Buffer.from(bytes.slice(8_192, 8_192 + count)).toString();
      return { text, fd: hasControl ? (words[(1_024 + 16) >> 2] as number) : -1 };
    },
    end: () => void libc.close(socket),
  };
}
