// What policy may ask about the request at hand: decoded from its head, field by field, only when asked.
import type { RequestView } from "../policy/snapshot.ts";
import type { RequestHead } from "../protocol/http1/head.ts";

export class HeadView implements RequestView {
  readonly #head: RequestHead;

  constructor(head: RequestHead) {
    this.#head = head;
  }

  get method(): string {
    return this.#head.method;
  }
  get path(): string {
    return this.#head.target;
  }
  get authority(): string {
    return this.#head.authority;
  }
  get scheme(): string {
    return "http";
  }
  header(lowerCaseName: string): string | undefined {
    return this.#head.joined(lowerCaseName);
  }
}
