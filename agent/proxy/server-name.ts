// Whom the client of a TLS connection wants, heard from its ClientHello without touching it: what came is held, and follows as the next
// handler's first event, byte for byte. Bounded in bytes by client-hello.ts, in time by the deadlines below. With Encrypted Client Hello
// it is the outer name: what the connection can be routed by, and all that anybody on the way can see.
import type { Stream } from "../base/net.ts";
import { type ClientHello, readClientHello } from "../protocol/tls/client-hello.ts";
import { FirstBytes } from "./first-bytes.ts";
import { type FirstWord, isServerFirst, noteServerFirst } from "./server-first.ts";
import type { ThreadContext } from "./thread-context.ts";

export type Heard =
  /** `serverName`: undefined when it names none. */
  | Extract<ClientHello, { is: "hello" }>
  /** Not TLS, or no ClientHello that a strict reader takes. */
  | { readonly is: "not_tls" }
  /** Not whole in time. */
  | { readonly is: "hello_timeout" };

export interface Listening {
  /** Where it goes, as all that goes there says. */
  readonly place: string;
  /** Something hangs on the name: worth helloTimeoutMs. Otherwise only detectTimeoutMs, and nothing where servers speak first. */
  readonly isNeeded: boolean;
}

/** Takes the stream over: sets its handler, or resets it. `spoke`, if given, wants to know who speaks first. */
export type Hear = (heard: Heard, spoke?: FirstWord) => void;

const NOT_TLS: Heard = { is: "not_tls" };
const TIMEOUT: Heard = { is: "hello_timeout" };

export function hearServerName(
  stream: Stream,
  context: ThreadContext,
  listening: Listening,
  hear: Hear,
): void {
  const { slots } = context.deps;
  const { place, isNeeded } = listening;
  if (!isNeeded && isServerFirst(slots, place))
    hear(TIMEOUT, (by) => noteServerFirst(slots, place, by === "server"));
  else new Listener(stream, context, listening, hear);
}

class Listener extends FirstBytes {
  readonly #hear: Hear;
  #heldBytes = 0;
  /** Before so many are there, looking again is no use. */
  #wantedBytes = 0;

  constructor(stream: Stream, context: ThreadContext, { place, isNeeded }: Listening, hear: Hear) {
    const { helloTimeoutMs, detectTimeoutMs } = context.config;
    super(stream, context, place, isNeeded ? helloTimeoutMs : detectTimeoutMs);
    this.#hear = hear;
  }

  protected override look(bytes: Uint8Array, start: number, end: number): void {
    const { held } = this;
    held.add(bytes, start, end);
    this.#heldBytes += end - start;
    if (this.#heldBytes < this.#wantedBytes) return;
    const all = held.take();
    const found = readClientHello(all, 0, this.#heldBytes);
    held.add(all, 0, this.#heldBytes);
    if (found.is === "need_more") this.#wantedBytes = found.bytes;
    else this.#decide(found.is === "hello" ? found : NOT_TLS);
  }

  #decide(heard: Heard, wasSilent = false): void {
    this.decide((spoke) => this.#hear(heard, spoke), wasSilent);
  }

  protected override late(): void {
    this.#decide(TIMEOUT, this.held.isEmpty);
  }
  protected override cutShort(): void {
    this.#decide(NOT_TLS);
  }
}
