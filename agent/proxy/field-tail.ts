// Fields that are appended to a head, built in one place per thread and moved once.

/** More than any tail we make: identity, ids and the header operations of one route. */
const TAIL_BYTES_MAX = 8192;

export class FieldTail {
  readonly bytes = new Uint8Array(TAIL_BYTES_MAX);
  end = 0;

  reset(): void {
    this.end = 0;
  }

  /** Whole fields with their CRLF. What does not fit is a resource too large to have been accepted. */
  append(fields: Uint8Array): void {
    if (this.end + fields.length > TAIL_BYTES_MAX) return;
    const { bytes } = this;
    let at = this.end;
    for (let i = 0; i < fields.length; i++) bytes[at++] = fields[i] as number;
    this.end = at;
  }
}
