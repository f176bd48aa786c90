// Is an address in a block such as 10.0.0.0/8? Parsed once, asked often.
import ipaddr from "ipaddr.js";

type Parsed = ReturnType<typeof ipaddr.parse>;

export interface AddressBlocks {
  has(address: string): boolean;
}

const NOWHERE: AddressBlocks = { has: () => false };

/** Texts that are no block hold nothing; parsers refuse them before. A bare address is a block of one. */
export function addressBlocks(texts: readonly string[]): AddressBlocks {
  const blocks = texts.map(parseBlock).filter((block) => block !== undefined);
  if (blocks.length === 0) return NOWHERE;
  return {
    has(address) {
      const parsed = parseAddress(address);
      if (parsed === undefined) return false;
      return blocks.some(
        ([base, bits]) => base.kind() === parsed.kind() && parsed.match(base, bits),
      );
    },
  };
}

/** The one text form that the kernel's addresses are shown in (RFC 5952); IPv4-mapped ones as IPv4. Undefined: no IP address. */
export function canonicalAddress(text: string): string | undefined {
  return parseAddress(text)?.toString();
}

function parseAddress(text: string): Parsed | undefined {
  const isAddress = text.includes(":") ? ipaddr.IPv6.isValid(text) : isIpv4(text);
  return isAddress ? ipaddr.process(text) : undefined;
}

/** ipaddr.js takes `10.1` and `0x7f.1` too, as old C libraries did. */
const isIpv4 = (text: string): boolean => ipaddr.IPv4.isValidFourPartDecimal(text);

function parseBlock(text: string): readonly [Parsed, number] | undefined {
  const slash = text.indexOf("/");
  const base = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (base === undefined) return undefined;
  const width = base.kind() === "ipv4" ? 32 : 128;
  if (slash < 0) return [base, width];
  const bits = Number(text.slice(slash + 1));
  return Number.isInteger(bits) && bits >= 0 && bits <= width ? [base, bits] : undefined;
}

/** In the ranges that are the mesh's own, where what is no service is nobody: 240.240.0.0/16 or 2001:2::/48, as the kernel writes addresses (RFC 5952). */
export const isVirtual = (address: string): boolean =>
  /^(?:240\.240\.|2001:2:(?::|0:))/.test(address);

/** As the kernel writes it. */
export const isLoopback = (address: string): boolean =>
  address === "::1" || address.startsWith("127.");
