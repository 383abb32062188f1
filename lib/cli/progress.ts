/**
 * A line that says how far something has come, on a terminal only.
 *
 * @module
 */

const INTERVAL = 100;

/** Shows one line, again and again in its place, on the standard error stream. */
export class ProgressLine implements Disposable {
  readonly #shown = Deno.stderr.isTerminal();
  #last = 0;

  /** Shows a text, unless it was shown just now or nobody looks. */
  show(text: string): void {
    const now = performance.now();
    if (!this.#shown || now - this.#last < INTERVAL) return;
    this.#last = now;
    this.#write(`\r\x1b[K${text}`);
  }

  /** Takes the line away. */
  [Symbol.dispose](): void {
    if (this.#last > 0) this.#write("\r\x1b[K");
  }

  #write(text: string): void {
    Deno.stderr.writeSync(new TextEncoder().encode(text));
  }
}

/** Returns how much of it is done, such as `42 %`. */
export function percent(fraction: number): string {
  return `${Math.floor(100 * fraction)} %`;
}

/** Returns a number with what is counted: `1 byte`, `2 bytes`. */
export function count(number: number, one: string, more = `${one}s`): string {
  return `${number} ${number === 1 ? one : more}`;
}
