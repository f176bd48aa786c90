// What policy and routing ask of a request and of who sends it.

/** What policy may ask about a request. The proxy decodes each answer only when it is asked for. */
export interface RequestView {
  readonly method: string;
  /** Normalised path with query, as it will be forwarded. */
  readonly path: string;
  /** Host or :authority as sent. */
  readonly authority: string;
  readonly scheme: string;
  /** Values of a repeated field joined with ", " (RFC 9110 5.3); undefined when absent. */
  header(lowerCaseName: string): string | undefined;
}

/** Who is on the other side, as far as it is proven. */
export interface Caller {
  /** SPIFFE ID from mTLS; undefined for plaintext. */
  readonly identity: string | undefined;
  readonly address: string;
}
