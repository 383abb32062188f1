/**
 * Many object numbers in little memory.
 *
 * @module
 */
import type { Oid } from "../serialize/record.ts";

const BITS = 65536;
/** So many numbers of a piece are kept as a list. */
const FEW = 64;

/** The numbers from 0 to 65,535: a list of a few, or a bit for each. */
class Piece {
  /** How many there are. */
  count = 0;
  #few: number[] = [];
  #words: Uint32Array | undefined;

  add(bit: number): boolean {
    let words = this.#words;
    if (words === undefined) {
      if (this.#few.includes(bit)) return false;
      if (this.count < FEW) {
        this.#few.push(bit);
        this.count++;
        return true;
      }
      words = this.#spread();
    }
    const word = words[bit >>> 5]!;
    const mask = 1 << (bit & 31);
    if ((word & mask) !== 0) return false;
    words[bit >>> 5] = word | mask;
    this.count++;
    return true;
  }

  has(bit: number): boolean {
    const words = this.#words;
    return words === undefined
      ? this.#few.includes(bit)
      : (words[bit >>> 5]! & (1 << (bit & 31))) !== 0;
  }

  delete(bit: number): boolean {
    const words = this.#words;
    if (words === undefined) {
      const at = this.#few.indexOf(bit);
      if (at < 0) return false;
      this.#few.splice(at, 1);
    } else {
      const word = words[bit >>> 5]!;
      const mask = 1 << (bit & 31);
      if ((word & mask) === 0) return false;
      words[bit >>> 5] = word & ~mask;
    }
    this.count--;
    return true;
  }

  /** Adds what another one has, none of which is in this one. */
  addAll(other: Piece): void {
    if (other.#words === undefined) {
      for (const bit of other.#few) this.add(bit);
      return;
    }
    const words = this.#words ?? this.#spread();
    other.#words.forEach((word, i) => words[i]! |= word);
    this.count += other.count;
  }

  /** Takes out what another one has, all of which is in this one. */
  deleteAll(other: Piece): void {
    const words = this.#words;
    if (words === undefined) {
      this.#few = this.#few.filter((bit) => !other.has(bit));
    } else if (other.#words === undefined) {
      for (const bit of other.#few) {
        words[bit >>> 5]! &= ~(1 << (bit & 31));
      }
    } else {
      other.#words.forEach((word, i) => words[i]! &= ~word);
    }
    this.count -= other.count;
  }

  /** Returns the smallest ones, so many at most. */
  smallest(most: number): number[] {
    const words = this.#words;
    if (words === undefined) {
      return this.#few.toSorted((a, b) => a - b).slice(0, most);
    }
    const found: number[] = [];
    for (let i = 0; i < words.length && found.length < most; i++) {
      if (words[i] === 0) continue;
      for (let bit = 0; bit < 32 && found.length < most; bit++) {
        if ((words[i]! & (1 << bit)) !== 0) found.push(32 * i + bit);
      }
    }
    return found;
  }

  #spread(): Uint32Array {
    const words = new Uint32Array(BITS / 32);
    for (const bit of this.#few) words[bit >>> 5]! |= 1 << (bit & 31);
    this.#few = [];
    return this.#words = words;
  }
}

/**
 * A set of object numbers in pieces of 65,536: one bit for each, and less where
 * they are few and far apart.
 */
export class OidSet {
  #pieces = new Map<number, Piece>();
  // The piece used last: neighbours come together.
  #number = -1;
  #piece: Piece | undefined;

  /** Adds a number; returns whether it is new. */
  add(oid: Oid): boolean {
    const piece = this.#pieceOf(oid) ?? this.#addPiece();
    return piece.add(oid % BITS);
  }

  /** Whether a number is in it. */
  has(oid: Oid): boolean {
    return this.#pieceOf(oid)?.has(oid % BITS) ?? false;
  }

  /** Takes a number out; returns whether it was in it. */
  delete(oid: Oid): boolean {
    const piece = this.#pieceOf(oid);
    if (piece === undefined || !piece.delete(oid % BITS)) return false;
    if (piece.count === 0) this.#dropPiece(this.#number);
    return true;
  }

  /** Goes through all numbers, each piece in order; nothing may be changed meanwhile. */
  *[Symbol.iterator](): Generator<Oid, void> {
    for (const [number, piece] of this.#pieces) {
      for (const bit of piece.smallest(BITS)) yield number * BITS + bit;
    }
  }

  /** Adds all numbers of another set, none of which is in this one. */
  addOthers(others: OidSet): void {
    for (const [number, piece] of others.#pieces) {
      (this.#pieceOf(number * BITS) ?? this.#addPiece()).addAll(piece);
    }
  }

  /** Takes out all numbers of another set, all of which are in this one. */
  deleteOthers(others: OidSet): void {
    for (const [number, piece] of others.#pieces) {
      const own = this.#pieces.get(number)!;
      own.deleteAll(piece);
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
      const piece = this.#pieces.get(number)!;
      for (const bit of piece.smallest(count - taken.length)) {
        piece.delete(bit);
        taken.push(number * BITS + bit);
      }
      if (piece.count === 0) this.#dropPiece(number);
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
    this.#piece = new Piece();
    this.#pieces.set(this.#number, this.#piece);
    return this.#piece;
  }

  #dropPiece(number: number): void {
    this.#pieces.delete(number);
    this.#piece = undefined;
    this.#number = -1;
  }
}
