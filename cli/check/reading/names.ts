// DNS as the programs of this host see it: the resolvers of resolv.conf asked by UDP (RFC 1035), through the capture where there is one.
import { createSocket } from "node:dgram";
import { isIP, isIPv6 } from "node:net";
import type { DecodedPacket } from "dns-packet";
import { readText } from "./text.ts";

export interface NamesFacts {
  /** At most three, as glibc takes them. */
  readonly resolvers: readonly string[];
  /** Why an agent with these options could not capture them. */
  readonly refusal: string | undefined;
  /** A name of the mesh that was asked for; undefined: none is to be had here. */
  readonly mesh: MeshQuestion | undefined;
  /** Whether each resolver answers at all to a question about the outside. */
  readonly outside: readonly { readonly resolver: string; readonly answered: Answered }[];
}
export interface MeshQuestion {
  readonly name: string;
  readonly expected: string;
  readonly answered: Answered;
}

export type Answered =
  | { readonly is: "answer"; readonly code: string; readonly addresses: readonly string[] }
  | { readonly is: "silence"; readonly why: string };

export function readResolvConf(text = readText("/etc/resolv.conf") ?? ""): readonly string[] {
  return text
    .split("\n")
    .map((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? "")
    .filter((address) => isIP(address) !== 0)
    .slice(0, 3);
}

/** The root's own servers: what any resolver can say something about. */
export const OUTSIDE_NAME = ".";

/** As any resolver's client does: a packet may be lost, and those to an agent that died just now are dropped for a second. */
const ASK_EVERY_MS = 300;

export async function askResolver(
  resolver: string,
  question: { readonly name: string; readonly type: "A" | "NS" },
  timeoutMs: number,
  port = 53,
): Promise<Answered> {
  const { decode, encode } = await import("dns-packet");
  const id = 1 + Math.floor(Math.random() * 65_534);
  const packet = encode({ type: "query", id, flags: 0x0100, questions: [question] });
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(resolver) ? "udp6" : "udp4");
    let isOver = false;
    const end = (answered: Answered): void => {
      if (isOver) return;
      isOver = true;
      clearTimeout(timer);
      clearInterval(again);
      socket.close();
      resolve(answered);
    };
    const timer = setTimeout(
      () => end({ is: "silence", why: `no answer within ${timeoutMs} ms` }),
      timeoutMs,
    );
    socket.on("error", (error) => end({ is: "silence", why: error.message }));
    socket.on("message", (bytes) => {
      const answered = readAnswer(bytes, id, decode);
      if (answered !== undefined) end(answered);
    });
    const send = (): void =>
      socket.send(packet, port, resolver, (error) => {
        if (error !== null) end({ is: "silence", why: error.message });
      });
    const again = setInterval(send, ASK_EVERY_MS);
    send();
  });
}

/** Undefined: somebody else's, or no DNS at all. */
function readAnswer(
  bytes: Uint8Array,
  id: number,
  decode: (bytes: Buffer) => DecodedPacket,
): Answered | undefined {
  try {
    const { id: answeredId, type, answers = [], ...rest } = decode(Buffer.from(bytes));
    if (answeredId !== id || type !== "response") return undefined;
    const code = "rcode" in rest && typeof rest.rcode === "string" ? rest.rcode : "NOERROR";
    const addresses = answers.flatMap((one) => (one.type === "A" ? [one.data] : []));
    return { is: "answer", code, addresses };
  } catch {
    return undefined; // what is not DNS is not our answer
  }
}
