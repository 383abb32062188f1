/**
 * Many object numbers in little memory.
 *
 * @module
 */
import type { Oid } from "../serialize/record.ts";

const BITS = 65536;
/** So many numbers of a piece are kept as a list. */
const FEW = 64;

/**
 * A set of object numbers with one bit for each, in pieces of 65,536. Where a
 * piece has few numbers, it is a list of them, so that numbers far apart take
 * little memory, too.
 */
export class OidSet {
  #pieces = new Map<number, Uint32Array>();
  #lists = new Map<number, number[]>();
  // The piece used last: neighbours come together.
  #number = -1;
  #piece: Uint32Array | undefined;

  /** Adds a number; returns whether it is new. */
  add(oid: Oid): boolean {
    const bit = oid % BITS;
    const piece = this.#pieceOf(oid);
    return piece === undefined ? this.#addToList(bit) : addTo(piece, bit);
  }

  /** Whether a number is in it. */
  has(oid: Oid): boolean {
    const bit = oid % BITS;
    const piece = this.#pieceOf(oid);
    return piece === undefined
      ? this.#lists.get(this.#number)?.includes(bit) ?? false
      : (piece[bit >>> 5]! & (1 << (bit & 31))) !== 0;
  }

  /** Takes a number out; returns whether it was in it. */
  delete(oid: Oid): boolean {
    const bit = oid % BITS;
    const piece = this.#pieceOf(oid);
    if (piece === undefined) {
      const list = this.#lists.get(this.#number);
      const at = list?.indexOf(bit) ?? -1;
      if (at >= 0) list!.splice(at, 1);
      return at >= 0;
    }
    const word = piece[bit >>> 5]!;
    const mask = 1 << (bit & 31);
    piece[bit >>> 5] = word & ~mask;
    return (word & mask) !== 0;
  }

  #addToList(bit: number): boolean {
    const list = this.#lists.get(this.#number);
    if (list === undefined) {
      this.#lists.set(this.#number, [bit]);
      return true;
    }
    if (list.includes(bit)) return false;
    if (list.push(bit) <= FEW) return true;
    this.#piece = new Uint32Array(BITS / 32);
    for (const one of list) addTo(this.#piece, one);
    this.#pieces.set(this.#number, this.#piece);
    this.#lists.delete(this.#number);
    return true;
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

function addTo(piece: Uint32Array, bit: number): boolean {
  const word = piece[bit >>> 5]!;
  const mask = 1 << (bit & 31);
  if ((word & mask) !== 0) return false;
  piece[bit >>> 5] = word | mask;
  return true;
}
