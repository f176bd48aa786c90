// The agent's own questions for addresses, and what an answer to one says. Strict: what is no whole answer to the question is none.
// RFC 1035; 2308 (how long "there is none" holds), 3596 (AAAA), 6891 (EDNS).
import { type Answer, decode, encode, type Packet, RECURSION_DESIRED } from "dns-packet";
import { err, ok, type Result } from "../base/result.ts";

export type AddressType = "A" | "AAAA";

export interface LookedUp {
  /** In the answer's order; none: the name, or an address of this family, does not exist. */
  readonly addresses: readonly string[];
  /** The shortest on the way to the addresses; where there are none, what the zone says of that. 0 where nothing is said. */
  readonly ttlSeconds: number;
}

/** Larger answers come over TCP: below every sane path's MTU (RFC 9715). */
const EDNS_BYTES = 1232;
/** Names that lead to one another before the address. */
const ALIASES_MAX = 16;
const HEADER_BYTES = 12;
const RESPONSE_CODES: Readonly<Record<number, string>> = {
  1: "FORMERR",
  2: "SERVFAIL",
  4: "NOTIMP",
  5: "REFUSED",
};
const NXDOMAIN = 3;

/** With id 0: who sends it chooses one. `name` is a host name without its final dot. */
export const writeLookup = (name: string, type: AddressType): Uint8Array =>
  encode({
    type: "query",
    id: 0,
    flags: RECURSION_DESIRED,
    questions: [{ name, type }],
    additionals: [
      {
        name: ".",
        type: "OPT",
        udpPayloadSize: EDNS_BYTES,
        extendedRcode: 0,
        ednsVersion: 0,
        flags: 0,
        flag_do: false,
        options: [],
      },
    ],
  });

/** Where the question of what writeLookup() wrote ends. */
export const questionEndOf = (name: string): number =>
  // Each label has one byte for its length where the text has a dot; one more before, one behind; type and class.
  HEADER_BYTES + name.length + 2 + 4;

/** Never throws. `truncated`: ask again over TCP; other errors are words for a log. */
export function readLookup(
  message: Uint8Array,
  name: string,
  type: AddressType,
): Result<LookedUp, string> {
  const code = (message[3] ?? 0) & 15;
  if (message.length >= HEADER_BYTES && code !== 0 && code !== NXDOMAIN)
    return err(RESPONSE_CODES[code] ?? `response code ${code}`);
  let packet: Packet;
  try {
    packet = decode(Buffer.from(message));
  } catch {
    // dns-packet has no other way to say that bytes are nonsense.
    return err("an answer that is none");
  }
  if (((message[2] as number) & 2) !== 0) return err("truncated");
  const found = follow(packet.answers ?? [], name.toLowerCase(), type);
  if (found === undefined) return err("aliases that lead nowhere");
  return ok(found.addresses.length > 0 ? found : { addresses: [], ttlSeconds: absentFor(packet) });
}

/** From alias to alias; undefined: in a circle, or too many. */
function follow(answers: readonly Answer[], name: string, type: AddressType): LookedUp | undefined {
  let owner = name;
  let ttlSeconds = Number.POSITIVE_INFINITY;
  for (let step = 0; step <= ALIASES_MAX; step++) {
    const own = answers.filter((one) => one.name.toLowerCase() === owner);
    const addresses: string[] = [];
    for (const one of own) {
      if (one.type !== type) continue;
      addresses.push(one.data);
      ttlSeconds = Math.min(ttlSeconds, one.ttl ?? 0);
    }
    if (addresses.length > 0) return { addresses: [...new Set(addresses)], ttlSeconds };
    const alias = own.find((one) => one.type === "CNAME");
    if (alias?.type !== "CNAME") return { addresses: [], ttlSeconds: 0 };
    ttlSeconds = Math.min(ttlSeconds, alias.ttl ?? 0);
    owner = alias.data.toLowerCase();
  }
  return undefined;
}

function absentFor({ authorities }: Packet): number {
  const start = authorities?.find((one) => one.type === "SOA");
  return start?.type === "SOA" ? Math.min(start.ttl ?? 0, start.data.minimum ?? 0) : 0;
}
