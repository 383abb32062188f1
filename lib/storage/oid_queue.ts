/**
 * A long queue of object numbers.
 *
 * @module
 */
import type { Oid } from "../serialize/record.ts";

const PIECE_OIDS = 4096;

/** First in, first out, 8 bytes for each number. */
export class OidQueue {
  #pieces: Float64Array[] = [];
  #head = 0;
  #tail = PIECE_OIDS;

  /** Puts a number at the end. */
  push(oid: Oid): void {
    if (this.#tail === PIECE_OIDS) {
      this.#pieces.push(new Float64Array(PIECE_OIDS));
      this.#tail = 0;
    }
    this.#pieces[this.#pieces.length - 1]![this.#tail++] = oid;
  }

  /** Takes the first number, or returns `undefined` if there is none. */
  shift(): Oid | undefined {
    if (this.isEmpty) return undefined;
    const oid = this.#pieces[0]![this.#head++];
    if (this.#head === PIECE_OIDS) {
      this.#pieces.shift();
      this.#head = 0;
      if (this.#pieces.length === 0) this.#tail = PIECE_OIDS;
    }
    return oid;
  }

  /** How many numbers are in it. */
  get length(): number {
    return this.#pieces.length * PIECE_OIDS - this.#head -
      (PIECE_OIDS - this.#tail);
  }

  /** Whether there is nothing in it. */
  get isEmpty(): boolean {
    return this.length === 0;
  }
}
