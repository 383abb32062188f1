/**
 * Many object numbers in little memory.
 *
 * @module
 */
import type { Oid } from "../serialize/record.ts";

const BITS = 65536;

/** A set of object numbers with one bit for each, in pieces of 65,536. */
export class OidSet {
  #pieces = new Map<number, Uint32Array>();
  // The piece used last: neighbours come together.
  #number = -1;
  #piece: Uint32Array | undefined;

  /** Adds a number; returns whether it is new. */
  add(oid: Oid): boolean {
    let piece = this.#pieceOf(oid);
    if (piece === undefined) {
      piece = this.#piece = new Uint32Array(BITS / 32);
      this.#pieces.set(this.#number, piece);
    }
    const bit = oid % BITS;
    const word = piece[bit >>> 5]!;
    const mask = 1 << (bit & 31);
    if ((word & mask) !== 0) return false;
    piece[bit >>> 5] = word | mask;
    return true;
  }

  /** Whether a number is in it. */
  has(oid: Oid): boolean {
    const piece = this.#pieceOf(oid);
    if (piece === undefined) return false;
    const bit = oid % BITS;
    return (piece[bit >>> 5]! & (1 << (bit & 31))) !== 0;
  }

  /** Takes a number out; returns whether it was in it. */
  delete(oid: Oid): boolean {
    const piece = this.#pieceOf(oid);
    if (piece === undefined) return false;
    const bit = oid % BITS;
    const word = piece[bit >>> 5]!;
    const mask = 1 << (bit & 31);
    piece[bit >>> 5] = word & ~mask;
    return (word & mask) !== 0;
  }

  #pieceOf(oid: Oid): Uint32Array | undefined {
    const number = Math.floor(oid / BITS);
    if (number !== this.#number) {
      this.#number = number;
      this.#piece = this.#pieces.get(number);
    }
    return this.#piece;
  }
}
