// node:crypto by the way that loads it at the first use: with a plain import an agent's start would wait 9 ms for it.

/** Hex. */
export const sha256Hex = (data: string | Uint8Array): string =>
  process.getBuiltinModule("node:crypto").createHash("sha256").update(data).digest("hex");
