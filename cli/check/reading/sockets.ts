// Who listens where: the kernel's tables of sockets (proc_net(5)), and whose files they are.
import { namesIn, numberIn, readLink, readText } from "./text.ts";

export interface Listening {
  readonly protocol: "tcp" | "udp";
  /** As people write it; `0.0.0.0` and `::` are all of a family. */
  readonly address: string;
  readonly port: number;
  readonly uid: number;
  /** Processes that have it open; empty: none of those this user may look at. */
  readonly pids: readonly number[];
}

/** Files of processes that are looked at in search of sockets. */
const FILES_MAX = 500_000;
const TCP_LISTEN = "0A";
const UDP_UNCONNECTED = "07";
const TABLES = [
  { file: "/proc/net/tcp", protocol: "tcp", state: TCP_LISTEN },
  { file: "/proc/net/tcp6", protocol: "tcp", state: TCP_LISTEN },
  { file: "/proc/net/udp", protocol: "udp", state: UDP_UNCONNECTED },
  { file: "/proc/net/udp6", protocol: "udp", state: UDP_UNCONNECTED },
] as const;

type Row = Omit<Listening, "pids"> & { readonly inode: string };

/** `pids`: who is asked, the likeliest first. */
export function readListening(pids: readonly number[]): readonly Listening[] {
  const rows = TABLES.flatMap(({ file, protocol, state }) =>
    (readText(file) ?? "").split("\n").flatMap((line) => readRow(line, protocol, state)),
  );
  const holders = holdersOf(new Set(rows.map(({ inode }) => inode)), pids);
  return rows.map(({ inode, ...row }) => ({ ...row, pids: holders.get(inode) ?? [] }));
}

function readRow(line: string, protocol: "tcp" | "udp", wanted: string): readonly Row[] {
  const [, hex = "", port = "", state, uid, inode = ""] =
    /^ *[0-9]+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) \S+ ([0-9A-F]{2}) \S+ \S+ \S+ +([0-9]+) +[0-9]+ ([0-9]+) /.exec(
      line,
    ) ?? [];
  if (state !== wanted) return [];
  const address = addressOf(hex);
  return [{ protocol, address, port: Number.parseInt(port, 16), uid: numberIn(uid) ?? 0, inode }];
}

/** 32-bit words in the machine's order, which is little-endian wherever this runs. */
export function addressOf(hex: string): string {
  const words = (hex.match(/.{8}/g) ?? []).map((word) => (word.match(/../g) ?? []).reverse());
  const bytes = words.flat().map((byte) => Number.parseInt(byte, 16));
  if (bytes.length === 4) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, i) =>
    (((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)).toString(16),
  );
  // The URL parser writes IPv6 in its canonical form (RFC 5952).
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}

function holdersOf(
  inodes: ReadonlySet<string>,
  pids: readonly number[],
): ReadonlyMap<string, readonly number[]> {
  const holders = new Map<string, number[]>();
  let left = FILES_MAX;
  for (const pid of pids) {
    for (const inode of socketsOf(pid, left)) {
      left--;
      if (!inodes.has(inode)) continue;
      const known = holders.get(inode);
      if (known === undefined) holders.set(inode, [pid]);
      else if (!known.includes(pid)) known.push(pid);
    }
  }
  return holders;
}

/** Inodes. None: it has none, or this user may not look. */
const socketsOf = (pid: number, filesMax: number): readonly string[] =>
  namesIn(`/proc/${pid}/fd`)
    .slice(0, filesMax)
    .flatMap((fd) => {
      const inode = /^socket:\[([0-9]+)\]$/.exec(readLink(`/proc/${pid}/fd/${fd}`) ?? "")?.[1];
      return inode === undefined ? [] : [inode];
    });
