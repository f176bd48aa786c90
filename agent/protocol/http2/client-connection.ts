// The dialling side of an HTTP/2 connection: lanes on which we ask.
import { type CloseReason, type Stream, type StreamHandler, UNPROCESSED } from "../../base/net.ts";
import { ClientLane } from "./client-lane.ts";
import { Http2Connection } from "./connection.ts";
import { FIELD_BYTES_MAX } from "./field-list.ts";
import { CODE, PREFACE, SETTING, STREAM_ID_MAX } from "./frame.ts";
import type { Lane } from "./lane.ts";
import { LastWords } from "./last-words.ts";
import type { Http2Deps } from "./shared-by-thread.ts";
import type { Windows } from "./windows.ts";

const SETTINGS = [
  [SETTING.enablePush, 0],
  [SETTING.maxHeaderListSize, FIELD_BYTES_MAX],
] as const;

const NOT_BEGUN = { is: "failed", code: UNPROCESSED } as const;

type Settings = readonly (readonly [number, number])[];

/** What it says of itself. */
export interface ClientTerms {
  readonly settings?: Settings;
  readonly windows?: Windows;
}

export interface ClientEvents {
  /** No more requests may begin on it. */
  onRetired(connection: ClientConnection): void;
  /** Nobody holds a lane of it any more. */
  onEmpty(connection: ClientConnection): void;
  onOver(connection: ClientConnection): void;
}

export class ClientConnection extends Http2Connection {
  override readonly isServer = false;
  readonly #events: ClientEvents;
  readonly #settings: Settings;
  readonly #all = new Set<Lane>();

  constructor(
    deps: Http2Deps,
    events: ClientEvents,
    { settings = SETTINGS, windows }: ClientTerms = {},
  ) {
    super(deps, windows);
    this.#events = events;
    this.#settings = settings;
  }

  connecting(stream: Stream): void {
    this.stream = stream;
  }

  /** Lanes in use and idle. */
  get laneCount(): number {
    return this.#all.size;
  }

  get isConnecting(): boolean {
    return this.state === "connecting";
  }

  /** A lane: onOpen or onClose(connect_failed) follows. */
  dial(handler: StreamHandler): Stream {
    return this.adopt(new ClientLane(this, handler));
  }

  /** The same of a lane made for it. */
  adopt(lane: Lane): Stream {
    this.#all.add(lane);
    if (this.state === "open") this.soon(() => lane.opened());
    return lane;
  }

  /** Does the app take requests that become tunnels (RFC 8441 3); undefined: it has not said anything yet. */
  get offersTunnels(): boolean | undefined {
    return this.hasSettings ? this.peer.offersTunnels : undefined;
  }

  override get mayOpen(): boolean {
    return !this.isRetiring && this.lanes.size < this.peer.streamsMax;
  }

  override open(lane: Lane): number {
    const { last } = this.history;
    const id = last === 0 ? 1 : last + 2;
    this.history.began(id);
    this.lanes.set(id, lane);
    if (id >= STREAM_ID_MAX - 1) this.#retire();
    return id;
  }

  override onOpen(stream: Stream): void {
    if (this.state !== "connecting") return;
    this.out.preface(PREFACE);
    this.start(stream, this.#settings);
    for (const lane of [...this.#all]) lane.opened();
  }

  protected override isIdle(id: number): boolean {
    return id % 2 === 0 || id > this.history.last;
  }

  /** The head of an answer. */
  protected override takeKnown(id: number, isLast: boolean): boolean {
    const lane = this.lanes.get(id);
    const known = lane instanceof ClientLane ? this.findKnown(isLast) : undefined;
    if (known === undefined || !(lane instanceof ClientLane) || !lane.awaits(known)) return false;
    this.enterKnown(known);
    lane.receiveKnown(known);
    return true;
  }

  protected override onNewFields(id: number): void {
    if (this.isIdle(id)) this.fail(CODE.protocolError, "stream_id");
    else this.late(id);
  }

  protected override onPong(): void {}

  /** Streams above `last` were not begun by the server: they may be asked again elsewhere (RFC 9113 6.8). */
  protected override goneAway(last: number): void {
    this.#retire();
    for (const id of this.lanes.ids()) {
      if (id <= last) continue;
      const lane = this.lanes.get(id);
      this.lanes.delete(id);
      this.history.wasReset(id); // what is said of it all the same is nobody's
      lane?.died(NOT_BEGUN);
    }
    this.emptied();
  }

  #retire(): void {
    if (this.isRetiring) return;
    this.isRetiring = true;
    this.#events.onRetired(this);
  }

  protected override leave(stream: Stream, rest: Uint8Array): void {
    new LastWords(stream, rest, this.deps.timers);
  }

  override left(lane: Lane): void {
    if (this.#all.delete(lane) && this.#all.size === 0) this.#events.onEmpty(this);
  }

  protected override ended(reason: CloseReason): void {
    this.#events.onOver(this);
    // Of what an open lane holds without a stream, nothing has left.
    for (const lane of [...this.#all])
      if (lane.streamId === 0) lane.died(lane.isOpen ? NOT_BEGUN : reason);
  }
}
