// What the wire sees: every TCP byte that crosses the router, put back in order per direction, so that a check can say whether it was
// TLS 1.3 and whether a word of ours could be read. The packets come from tcpdump; reading them is ours (pcap, Linux cooked
// headers, RFC 9293, RFC 8446).
import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import type { Lab } from "./lab.ts";
import { ROUTER } from "./layout.ts";

/** One direction of one connection. */
export interface Flow {
  readonly from: string;
  readonly to: string;
  readonly payload: Buffer;
}

/** Bytes of one direction that are kept: far beyond what the checks send. */
const FLOW_BYTES_MAX = 16_777_216;

export class Capture {
  readonly #child: ChildProcess;
  readonly #logFile: string;
  readonly #chunks: Buffer[] = [];

  private constructor(child: ChildProcess, logFile: string) {
    this.#child = child;
    this.#logFile = logFile;
    child.stdout?.on("data", (bytes: Buffer) => this.#chunks.push(bytes));
  }

  /** Resolves once packets are being seen. */
  static async start(lab: Lab, logFile: string): Promise<Capture> {
    // -p: promiscuous mode needs more rights than looking does; DNS is no traffic of the mesh.
    const command =
      "tcpdump -i any -B 65536 -p -n -s 0 -U --immediate-mode -Z root -w - tcp and not port 53";
    const child = lab.spawn(ROUTER, command.split(" "), { uid: 0, stdio: "pipe", log: logFile });
    const capture = new Capture(child, logFile);
    // The file header is written once the capture runs.
    await new Promise<void>((resolve, reject) => {
      child.stdout?.once("data", () => resolve());
      child.once("exit", () => reject(new Error(`tcpdump ended at once: see ${logFile}`)));
    });
    return capture;
  }

  async stop(): Promise<readonly Flow[]> {
    const ended = new Promise<void>((resolve) => this.#child.once("close", () => resolve()));
    this.#child.kill("SIGINT");
    await ended;
    // A packet nobody looked at might have been the one.
    const lost = /([0-9]+) packets dropped by kernel/.exec(
      readFileSync(this.#logFile, "utf8"),
    )?.[1];
    if (lost !== "0") throw new Error(`the capture lost ${lost ?? "an unknown number of"} packets`);
    return flowsOf(Buffer.concat(this.#chunks));
  }
}

interface Segment {
  readonly from: string;
  readonly to: string;
  readonly sequence: number;
  readonly isSyn: boolean;
  readonly payload: Buffer;
}

interface OpenFlow {
  readonly from: string;
  readonly to: string;
  readonly parts: Buffer[];
  readonly first: number;
  /** Sequence number of the next byte. */
  next: number;
  bytes: number;
}

/** Reads a pcap file of Linux cooked packets. */
export function flowsOf(pcap: Buffer): readonly Flow[] {
  const all: OpenFlow[] = [];
  const current = new Map<string, OpenFlow>();
  const linkType = pcap.length < 24 ? 0 : pcap.readUInt32LE(20);
  for (let at = 24; at + 16 <= pcap.length; ) {
    const length = pcap.readUInt32LE(at + 8);
    const segment = segmentOf(pcap.subarray(at + 16, at + 16 + length), linkType);
    at += 16 + length;
    if (segment === undefined) continue;
    const { from, to, sequence, isSyn } = segment;
    const key = `${from} ${to}`;
    const first = (sequence + (isSyn ? 1 : 0)) >>> 0;
    const known = current.get(key);
    // A SYN opens a new connection, unless it is the one we saw already, on its way out or sent again.
    const isNew = known === undefined || (isSyn && known.bytes > 0 && first !== known.first);
    const flow = isNew ? { from, to, first, next: first, parts: [], bytes: 0 } : known;
    if (isNew) {
      all.push(flow);
      current.set(key, flow);
    }
    append(flow, segment);
  }
  return all.map(({ from, to, parts }) => ({ from, to, payload: Buffer.concat(parts) }));
}

/** Every packet is seen twice, coming and leaving; what was there already is dropped. A gap is skipped. */
function append(flow: OpenFlow, { sequence, payload }: Segment): void {
  const ahead = (sequence - flow.next) | 0;
  const fresh = ahead < 0 ? payload.subarray(Math.min(-ahead, payload.length)) : payload;
  if (fresh.length === 0 || flow.bytes > FLOW_BYTES_MAX) return;
  flow.parts.push(fresh);
  flow.bytes += fresh.length;
  flow.next = (sequence + payload.length) >>> 0;
}

const LINUX_COOKED_V1 = 113;
const LINUX_COOKED_V2 = 276;

function segmentOf(packet: Buffer, linkType: number): Segment | undefined {
  const skip = linkType === LINUX_COOKED_V2 ? 20 : linkType === LINUX_COOKED_V1 ? 16 : 14;
  const ip = packet.subarray(skip);
  if (ip.length < 20) return undefined;
  const isVersion6 = ip.readUInt8(0) >> 4 === 6;
  if (isVersion6 && (ip.length < 40 || ip.readUInt8(6) !== 6)) return undefined; // extension headers: not ours
  const headerLength = isVersion6 ? 40 : (ip.readUInt8(0) & 15) * 4;
  const totalLength = isVersion6 ? 40 + ip.readUInt16BE(4) : ip.readUInt16BE(2);
  const source = isVersion6
    ? ip.subarray(8, 24).toString("hex")
    : [...ip.subarray(12, 16)].join(".");
  const target = isVersion6
    ? ip.subarray(24, 40).toString("hex")
    : [...ip.subarray(16, 20)].join(".");
  const tcp = ip.subarray(headerLength, totalLength);
  if (tcp.length < 20) return undefined;
  return {
    from: `${source}:${tcp.readUInt16BE(0)}`,
    to: `${target}:${tcp.readUInt16BE(2)}`,
    sequence: tcp.readUInt32BE(4),
    isSyn: (tcp.readUInt8(13) & 2) !== 0,
    payload: tcp.subarray((tcp.readUInt8(12) >> 4) * 4),
  };
}

const HANDSHAKE = 22;
const SERVER_HELLO = 2;
const SUPPORTED_VERSIONS = 43;

/** The version a ServerHello at the start of this direction chose (0x0304: TLS 1.3); undefined: there is none. */
export function tlsVersionChosen(payload: Buffer): number | undefined {
  if (
    payload.length < 49 ||
    payload.readUInt8(0) !== HANDSHAKE ||
    payload.readUInt8(5) !== SERVER_HELLO
  )
    return undefined;
  const legacyVersion = payload.readUInt16BE(9);
  const sessionIdLength = payload.readUInt8(43);
  let at = 44 + sessionIdLength + 3; // cipher suite, compression
  const end = Math.min(payload.length, at + 2 + payload.readUInt16BE(at));
  for (at += 2; at + 4 <= end; at += 4 + payload.readUInt16BE(at + 2)) {
    if (payload.readUInt16BE(at) === SUPPORTED_VERSIONS) return payload.readUInt16BE(at + 4);
  }
  return legacyVersion;
}

/** True if the direction is nothing but TLS records (RFC 8446 5.1), the last of which may be cut off. */
export function isAllTlsRecords(payload: Buffer): boolean {
  for (let at = 0; at < payload.length; ) {
    if (at + 5 > payload.length) return true;
    const type = payload.readUInt8(at);
    if (type < 20 || type > 23 || payload.readUInt8(at + 1) !== 3) return false;
    at += 5 + payload.readUInt16BE(at + 3);
  }
  return true;
}
