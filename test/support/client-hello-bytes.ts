// ClientHellos written byte by byte (RFC 8446 4.1.2, RFC 6066 3), sound and unsound ones.

export const u16 = (n: number): number[] => [n >>> 8, n & 255];
export const u24 = (n: number): number[] => [n >>> 16, (n >>> 8) & 255, n & 255];
export const text = (name: string): number[] => [...name].map((c) => c.charCodeAt(0));
export const extension = (kind: number, content: number[]): number[] => [
  ...u16(kind),
  ...u16(content.length),
  ...content,
];
export const nameEntry = (name: string, kind = 0): number[] => [
  kind,
  ...u16(name.length),
  ...text(name),
];
export const sni = (...entries: number[][]): number[] => {
  const list = entries.flat();
  return extension(0, [...u16(list.length), ...list]);
};

interface Parts {
  readonly extensions?: number[];
  readonly suites?: number[];
  readonly session?: number[];
  readonly compressions?: number[];
  readonly after?: number[];
}
export function message(parts: Parts = {}): number[] {
  const { extensions, suites = [0x13, 0x01], session = [], compressions = [0], after = [] } = parts;
  const body = [
    ...[3, 3, ...new Array<number>(32).fill(7)],
    ...[session.length, ...session],
    ...[...u16(suites.length), ...suites],
    ...[compressions.length, ...compressions],
    ...(extensions === undefined ? [] : [...u16(extensions.length), ...extensions]),
    ...after,
  ];
  return [1, ...u24(body.length), ...body];
}
export const record = (content: number[]): number[] => [
  22,
  3,
  1,
  ...u16(content.length),
  ...content,
];

/** A whole one, as a client sends it that wants that server. */
export const helloFor = (name?: string): number[] =>
  record(message({ extensions: name === undefined ? [] : sni(nameEntry(name)) }));
