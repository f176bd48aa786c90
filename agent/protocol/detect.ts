// Says what a downstream speaks from its first bytes, before anything is parsed. A client that stays silent (server-first
// protocols) never yields an answer: the caller's deadline decides then.

export type Detected = "http1" | "http2_preface" | "tls" | "opaque" | "need_more";

/** Looks at bytes[start..end), at most the first 24. Any prefix of a longer input gives the same answer or "need_more". */
export function detect(_bytes: Uint8Array, _start: number, _end: number): Detected {
  return "need_more";
}
