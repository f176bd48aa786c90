// What the peer said in SETTINGS, RFC 9113 6.5.2.
import { CODE, FRAME_BYTES_MAX, readWord, SETTING, WINDOW_AT_FIRST, WINDOW_MAX } from "./frame.ts";

/** Until it says: RFC 9113 5.1.2 recommends no fewer. */
const STREAMS_AT_FIRST = 100;
const FRAME_BYTES_LIMIT = 16_777_215;

export class PeerSettings {
  initialWindow = WINDOW_AT_FIRST;
  /** Streams it lets us have open at once. */
  streamsMax = STREAMS_AT_FIRST;
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
    if (name === SETTING.maxConcurrentStreams) this.streamsMax = value;
    else if (name === SETTING.headerTableSize) this.hasResizedTable = true;
    else if (name === SETTING.enablePush) {
      if (value > (isFromClient ? 1 : 0)) return CODE.protocolError;
    } else if (name === SETTING.initialWindowSize) {
      if (value > WINDOW_MAX) return CODE.flowControlError;
      this.initialWindow = value;
    } else if (name === SETTING.maxFrameSize) {
      if (value < FRAME_BYTES_MAX || value > FRAME_BYTES_LIMIT) return CODE.protocolError;
    }
    return undefined;
  }
}
