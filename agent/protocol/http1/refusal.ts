// Why bytes of a peer are refused. Codes are negative numbers, so that a reader answers "offset, more, or refused" in
// one number without allocating. A refused message is never repaired and never forwarded; its connection closes.

/** The bytes are fine so far but do not end the head (or body) yet. */
export const NEED_MORE = -1;

export interface Refusal {
  /** What a client is told; a refused upstream response is a 502 instead. */
  readonly status: 400 | 414 | 431 | 501 | 505;
  /** Bounded set of words, for logs and metric labels. */
  readonly reason: string;
}

export const REFUSED_METHOD = -2;
export const REFUSED_TARGET = -3;
export const REFUSED_VERSION_SYNTAX = -4;
export const REFUSED_VERSION = -5;
export const REFUSED_LINE_END = -6;
export const REFUSED_FIELD_NAME = -7;
export const REFUSED_FIELD_VALUE = -8;
export const REFUSED_FOLD = -9;
export const REFUSED_CONTENT_LENGTH = -10;
export const REFUSED_TRANSFER_ENCODING = -11;
export const REFUSED_CODING = -12;
export const REFUSED_FRAMING = -13;
export const REFUSED_HOST_MISSING = -14;
export const REFUSED_HOST = -15;
export const REFUSED_HOST_MISMATCH = -16;
export const REFUSED_CONNECT = -17;
export const REFUSED_TARGET_TOO_LONG = -18;
export const REFUSED_HEAD_TOO_LONG = -19;
export const REFUSED_TOO_MANY_FIELDS = -20;
export const REFUSED_STATUS_LINE = -21;
export const REFUSED_CONNECTION = -22;
export const REFUSED_UPGRADE = -23;
export const REFUSED_CHUNK_SIZE = -24;
export const REFUSED_CHUNK_EXTENSION = -25;
export const REFUSED_CHUNK_END = -26;
export const REFUSED_TRAILER = -27;

const REFUSALS: readonly Refusal[] = [
  { status: 400, reason: "method_invalid" },
  { status: 400, reason: "target_invalid" },
  { status: 400, reason: "version_malformed" },
  { status: 505, reason: "version_unsupported" },
  { status: 400, reason: "line_end_invalid" },
  { status: 400, reason: "field_name_invalid" },
  { status: 400, reason: "field_value_invalid" },
  { status: 400, reason: "obs_fold" },
  { status: 400, reason: "content_length_invalid" },
  { status: 400, reason: "transfer_encoding_invalid" },
  { status: 501, reason: "transfer_coding_unknown" },
  { status: 400, reason: "framing_ambiguous" },
  { status: 400, reason: "host_missing" },
  { status: 400, reason: "host_invalid" },
  { status: 400, reason: "host_mismatch" },
  { status: 400, reason: "connect_not_allowed" },
  { status: 414, reason: "target_too_long" },
  { status: 431, reason: "head_too_long" },
  { status: 431, reason: "too_many_fields" },
  { status: 400, reason: "status_line_invalid" },
  { status: 400, reason: "connection_invalid" },
  { status: 400, reason: "upgrade_invalid" },
  { status: 400, reason: "chunk_size_invalid" },
  { status: 400, reason: "chunk_extension_invalid" },
  { status: 400, reason: "chunk_end_invalid" },
  { status: 400, reason: "trailer_invalid" },
];

const UNKNOWN: Refusal = { status: 400, reason: "malformed" };

/** `code` is what a reader returned below NEED_MORE. */
export const refusalOf = (code: number): Refusal => REFUSALS[-code - 2] ?? UNKNOWN;
