// Responses of our own: refusals, redirects, direct responses. Whole, small, with Content-Length.

export interface Answer {
  readonly status: number;
  readonly body?: string;
  /** Default text/plain. */
  readonly contentType?: string;
  /** Further fields, names lower case; values must be valid field values. */
  readonly fields?: readonly (readonly [name: string, value: string])[];
  /** Adds `connection: close`. */
  readonly isLast?: boolean;
  /** The request was HEAD: the body is measured, not sent. */
  readonly isHead?: boolean;
}

/** Bytes of a whole response. Make common ones once and keep them. */
export function answerBytes(_answer: Answer): Uint8Array {
  return new Uint8Array(0);
}
