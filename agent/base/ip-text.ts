// IP addresses as text, told apart strictly. node:net's isIP() says the same, but an agent's start would wait 7 ms for that module.

/** 4, 6, or 0 for what is no IP address. No zone (`%eth0`), no block, no space. */
export function ipFamily(text: string): 0 | 4 | 6 {
  if (parseIpv4(text) !== undefined) return 4;
  return parseIpv6(text) === undefined ? 0 : 6;
}

export const isIpv6Text = (text: string): boolean => ipFamily(text) === 6;

/** Its four bytes; undefined for anything but four decimal numbers without leading zeros. */
export function parseIpv4(text: string): readonly number[] | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  return parts.every((part) => /^(?:0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255)
    ? parts.map(Number)
    : undefined;
}

/** Its eight groups (RFC 4291 2.2, the last two perhaps as an IPv4 address). */
export function parseIpv6(text: string): readonly number[] | undefined {
  const [head = "", tail, ...more] = text.split("::");
  if (more.length > 0) return undefined;
  const left = groupsOf(head, tail === undefined);
  const right = tail === undefined ? [] : groupsOf(tail, true);
  if (left === undefined || right === undefined) return undefined;
  const missing = 8 - left.length - right.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  return [...left, ...new Array<number>(missing).fill(0), ...right];
}

function groupsOf(text: string, isLast: boolean): readonly number[] | undefined {
  if (text === "") return [];
  const parts = text.split(":");
  const dotted = isLast && parts.at(-1)?.includes(".") ? parseIpv4(parts.pop() ?? "") : [];
  if (dotted === undefined || !parts.every((part) => /^[0-9a-fA-F]{1,4}$/.test(part)))
    return undefined;
  const [a = 0, b = 0, c = 0, d = 0] = dotted;
  const end = dotted.length === 0 ? [] : [(a << 8) | b, (c << 8) | d];
  return [...parts.map((part) => Number.parseInt(part, 16)), ...end];
}
