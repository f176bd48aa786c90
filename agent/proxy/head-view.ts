// What policy may ask about the request at hand: decoded from its head, field by field, only when asked.
import type { RequestView } from "../policy/request-view.ts";
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

/** The same answers, for as long as somebody keeps them: a request that became a tunnel is asked about again by later policies. */
export function keptView(head: RequestHead): RequestView {
  const { method, target: path, authority } = head;
  const fields = new Map<string, string | undefined>();
  for (let i = 0; i < head.fieldCount; i++) {
    const name = head.name(i).toLowerCase();
    if (!fields.has(name)) fields.set(name, head.joined(name));
  }
  return { method, path, authority, scheme: "http", header: (name) => fields.get(name) };
}
