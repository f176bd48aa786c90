// What the peer said in SETTINGS, RFC 9113 6.5.2 and RFC 8441 3.
import { CODE, FRAME_BYTES_MAX, readWord, SETTING, WINDOW_AT_FIRST, WINDOW_MAX } from "./frame.ts";

/** Until it says: RFC 9113 5.1.2 recommends no fewer. */
const STREAMS_AT_FIRST = 100;
const FRAME_BYTES_LIMIT = 16_777_215;

export class PeerSettings {
  initialWindow = WINDOW_AT_FIRST;
  /** Streams it lets us have open at once. */
  streamsMax = STREAMS_AT_FIRST;
  /** It takes requests that become tunnels. */
  offersTunnels = false;
  /** The last frame said how large a table of ours may be. */
  hasResizedTable = false;

  /** Takes a frame's payload. A code: the connection is to end with it. We send no frame longer than FRAME_BYTES_MAX, index nothing in
   *  its table, and push nothing, whatever it allows. */
  read(bytes: Uint8Array, start: number, end: number, isFromClient: boolean): number | undefined {
    this.hasResizedTable = false;
    for (let at = start; at < end; at += 6) {
      const name = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
      const value = readWord(bytes, at + 2);
      const refused = this.#take(name, value, isFromClient);
      if (refused !== undefined) return refused;
    }
    return undefined;
  }

  #take(name: number, value: number, isFromClient: boolean): number | undefined {
    switch (name) {
      case SETTING.maxConcurrentStreams:
        this.streamsMax = value;
        return undefined;
      case SETTING.headerTableSize:
        this.hasResizedTable = true;
        return undefined;
      case SETTING.enablePush:
        return value > (isFromClient ? 1 : 0) ? CODE.protocolError : undefined;
      case SETTING.initialWindowSize:
        this.initialWindow = value;
        return value > WINDOW_MAX ? CODE.flowControlError : undefined;
      case SETTING.maxFrameSize:
        return value < FRAME_BYTES_MAX || value > FRAME_BYTES_LIMIT
          ? CODE.protocolError
          : undefined;
      case SETTING.enableConnectProtocol:
        return this.#takeTunnels(value);
      default:
        return undefined;
    }
  }

  /** What was offered cannot be taken back. */
  #takeTunnels(value: number): number | undefined {
    if (value > 1 || (value === 0 && this.offersTunnels)) return CODE.protocolError;
    this.offersTunnels = value === 1;
    return undefined;
  }
}
