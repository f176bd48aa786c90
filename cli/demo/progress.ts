// What the demo says while it works: one line that changes on a terminal, plain lines elsewhere.
import type { WriteStream } from "node:tty";
import { stripVTControlCharacters } from "node:util";
import colors from "picocolors";

export class Progress {
  readonly #out: WriteStream;
  readonly #startedMs = performance.now();
  #hasLine = false;
  #isClosed = false;

  constructor(out: WriteStream) {
    this.#out = out;
  }

  /** What is being done now. On a terminal it replaces what was said before. */
  step(text: string): void {
    if (this.#isClosed) return;
    if (!this.#out.isTTY) return void this.#out.write(`... ${text}\n`);
    this.#out.write(`\r\u001b[K${colors.dim(this.#oneLine(`${this.#elapsed()}  ${text}`))}`);
    this.#hasLine = true;
  }

  /** A state that replaces the last one, for as long as it takes. */
  status(text: string): void {
    if (this.#isClosed) return;
    if (!this.#out.isTTY) return void this.#out.write(`${text}\n`);
    this.#out.write(`\r\u001b[K${this.#oneLine(text)}`);
    this.#hasLine = true;
  }

  /** Something that stays. */
  line(text: string): void {
    if (this.#isClosed) return;
    this.clear();
    this.#out.write(`${text}\n`);
  }

  clear(): void {
    if (this.#hasLine) this.#out.write("\r\u001b[K");
    this.#hasLine = false;
  }

  /** Says no more: what is still under way ends without a word. */
  close(): void {
    this.#isClosed = true;
  }

  elapsedMs(): number {
    return performance.now() - this.#startedMs;
  }
  /** A line that wraps cannot be replaced: one that is too long is cut, and loses its colours. */
  #oneLine(text: string): string {
    const plain = stripVTControlCharacters(text);
    const width = (this.#out.columns || 80) - 1;
    return plain.length <= width ? text : plain.slice(0, width);
  }
  #elapsed(): string {
    return `${(this.elapsedMs() / 1000).toFixed(1)} s`;
  }
}
