/**
 * Many object numbers in little memory.
 *
 * @module
 */
import type { Oid } from "../serialize/record.ts";

const BITS = 4096;

/** A piece with no more numbers than that is a list. */
const FEW = 8;

// Who makes up numbers must not be able to choose those that a `Map` puts into
// one place: with a million of them it would be busy for hours.
const SECRET = Math.floor(Math.random() * 2 ** 29);

/**
 * A set of object numbers. Where they are close together it takes little more
 * than a bit for each; if each stands alone, about 100 bytes.
 */
export class OidSet {
  /** What there is among 4096 neighbours: a list, or a bit for each. */
  #pieces = new Map<number, number[] | Uint32Array>();
  // The piece used last: neighbours come together.
  #number = -1;
  #few: number[] | undefined;
  #bits: Uint32Array | undefined;

  /** Adds a number; returns whether it is new. */
  add(oid: Oid): boolean {
    this.#find(oid);
    const bit = oid % BITS;
    if (this.#bits !== undefined) return setBit(this.#bits, bit);
    const few = this.#few;
    if (few === undefined) {
      this.#few = [bit];
      this.#pieces.set(this.#number + SECRET, this.#few);
      return true;
    }
    if (few.includes(bit)) return false;
    if (few.length < FEW) {
      few.push(bit);
      return true;
    }
    const bits = this.#bits = new Uint32Array(BITS / 32);
    this.#few = undefined;
    this.#pieces.set(this.#number + SECRET, bits);
    for (const other of few) setBit(bits, other);
    return setBit(bits, bit);
  }

  /** Whether a number is in it. */
  has(oid: Oid): boolean {
    this.#find(oid);
    const bit = oid % BITS;
    const bits = this.#bits;
    if (bits !== undefined) return (bits[bit >>> 5]! & (1 << (bit & 31))) !== 0;
    return this.#few !== undefined && this.#few.includes(bit);
  }

  /** Takes a number out; returns whether it was in it. */
  delete(oid: Oid): boolean {
    this.#find(oid);
    const bit = oid % BITS;
    if (this.#bits !== undefined) return clearBit(this.#bits, bit);
    const at = this.#few?.indexOf(bit) ?? -1;
    if (at < 0) return false;
    this.#few!.splice(at, 1);
    return true;
  }

  #find(oid: Oid): void {
    const number = Math.floor(oid / BITS);
    if (number === this.#number) return;
    this.#number = number;
    const piece = this.#pieces.get(number + SECRET);
    this.#few = this.#bits = undefined;
    if (piece instanceof Uint32Array) this.#bits = piece;
    else this.#few = piece;
  }
}

/** Sets a bit; returns whether it was not set. */
function setBit(bits: Uint32Array, bit: number): boolean {
  const word = bits[bit >>> 5]!;
  const mask = 1 << (bit & 31);
  if ((word & mask) !== 0) return false;
  bits[bit >>> 5] = word | mask;
  return true;
}

/** Clears a bit; returns whether it was set. */
function clearBit(bits: Uint32Array, bit: number): boolean {
  const word = bits[bit >>> 5]!;
  const mask = 1 << (bit & 31);
  bits[bit >>> 5] = word & ~mask;
  return (word & mask) !== 0;
}
