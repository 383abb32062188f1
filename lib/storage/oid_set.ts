/**
 * Many object numbers in little memory.
 *
 * @module
 */
import type { Oid } from "../serialize/record.ts";

const BITS = 65536;

interface Piece {
  readonly words: Uint32Array;
  /** How many bits are set. */
  count: number;
}

/** A set of object numbers with one bit for each, in pieces of 65,536. */
export class OidSet {
  #pieces = new Map<number, Piece>();
  // The piece used last: neighbours come together.
  #number = -1;
  #piece: Piece | undefined;

  /** Adds a number; returns whether it is new. */
  add(oid: Oid): boolean {
    const piece = this.#pieceOf(oid) ?? this.#addPiece();
    const bit = oid % BITS;
    const word = piece.words[bit >>> 5]!;
    const mask = 1 << (bit & 31);
    if ((word & mask) !== 0) return false;
    piece.words[bit >>> 5] = word | mask;
    piece.count++;
    return true;
  }

  /** Whether a number is in it. */
  has(oid: Oid): boolean {
    const piece = this.#pieceOf(oid);
    if (piece === undefined) return false;
    const bit = oid % BITS;
    return (piece.words[bit >>> 5]! & (1 << (bit & 31))) !== 0;
  }

  /** Takes a number out; returns whether it was in it. */
  delete(oid: Oid): boolean {
    const piece = this.#pieceOf(oid);
    if (piece === undefined) return false;
    const bit = oid % BITS;
    const word = piece.words[bit >>> 5]!;
    const mask = 1 << (bit & 31);
    if ((word & mask) === 0) return false;
    piece.words[bit >>> 5] = word & ~mask;
    if (--piece.count === 0) this.#dropPiece(this.#number);
    return true;
  }

  /** Adds all numbers of another set, none of which is in this one. */
  addOthers(others: OidSet): void {
    for (const [number, piece] of others.#pieces) {
      const own = this.#pieceOf(number * BITS) ?? this.#addPiece();
      piece.words.forEach((word, i) => own.words[i]! |= word);
      own.count += piece.count;
    }
  }

  /** Takes out all numbers of another set, all of which are in this one. */
  deleteOthers(others: OidSet): void {
    for (const [number, piece] of others.#pieces) {
      const own = this.#pieces.get(number)!;
      piece.words.forEach((word, i) => own.words[i]! &= ~word);
      own.count -= piece.count;
      if (own.count === 0) this.#dropPiece(number);
    }
  }

  /** Takes the smallest numbers out: `count` of them, or all if there are fewer. */
  takeSmallest(count: number): Oid[] {
    const taken: Oid[] = [];
    while (taken.length < count && this.#pieces.size > 0) {
      let number = Infinity;
      for (const other of this.#pieces.keys()) {
        if (other < number) number = other;
      }
      const { words } = this.#pieces.get(number)!;
      for (let i = 0; i < words.length && taken.length < count; i++) {
        for (let bit = 0; words[i] !== 0 && taken.length < count; bit++) {
          if ((words[i]! & (1 << bit)) === 0) continue;
          const oid = number * BITS + 32 * i + bit;
          this.delete(oid);
          taken.push(oid);
        }
      }
    }
    return taken;
  }

  #pieceOf(oid: Oid): Piece | undefined {
    const number = Math.floor(oid / BITS);
    if (number !== this.#number) {
      this.#number = number;
      this.#piece = this.#pieces.get(number);
    }
    return this.#piece;
  }

  /** Adds the piece that was looked for last. */
  #addPiece(): Piece {
    this.#piece = { words: new Uint32Array(BITS / 32), count: 0 };
    this.#pieces.set(this.#number, this.#piece);
    return this.#piece;
  }

  #dropPiece(number: number): void {
    this.#pieces.delete(number);
    this.#piece = undefined;
    this.#number = -1;
  }
}
