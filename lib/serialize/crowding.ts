/**
 * Keys of Maps and Sets that get in each other's way. The hash that V8 gives to
 * numbers, to bigints and to strings of digits is known to everybody, so that
 * keys can be chosen which all fall on one place of its table. To put 30,000 of
 * them into a Map takes more than a second, a million would take an hour.
 *
 * What a record's keys will cost is added up here, before they are put into a
 * Map. Where V8 has another hash one day, this does no harm: keys that nobody
 * has chosen are spread out by any hash.
 *
 * @module
 */

/** Smaller collections are not looked at: they cannot cost much. */
const SMALL = 256;

/** Returns how many steps of comparing keys a record of so many bytes may cost. */
export function allowedSteps(bytes: number): number {
  return 20_000_000 + 300 * bytes;
}

/** Adds up what it costs to put keys into one Map or Set. */
export class Crowding {
  /** How many keys have been passed by on the way to the place of another. */
  steps = 0;
  readonly #hashes: number[] = [];
  // Grows with the keys that are there, not with those that are claimed.
  #counts = new Uint32Array(SMALL / 2);

  /** Returns what counts for a collection of so many keys; nothing for a small one. */
  static of(count: number): Crowding | undefined {
    return count < SMALL ? undefined : new Crowding();
  }

  /** Counts a key. */
  add(key: unknown): void {
    const hash = hashOf(key);
    if (hash < 0) return;
    // V8 has a place for two keys.
    if (this.#hashes.length === 2 * this.#counts.length) this.#grow();
    this.#hashes.push(hash);
    this.steps += this.#count(hash);
  }

  #count(hash: number): number {
    const place = hash & this.#counts.length - 1;
    const before = this.#counts[place]!;
    this.#counts[place] = before + 1;
    return before;
  }

  #grow(): void {
    this.#counts = new Uint32Array(2 * this.#counts.length);
    for (const hash of this.#hashes) this.#count(hash);
  }
}

const view = new DataView(new ArrayBuffer(8));

/** The hash of a key that V8 gives no secret one; -1 for any other. */
function hashOf(key: unknown): number {
  switch (typeof key) {
    case "number":
      if (key === (key | 0)) return hash32(key);
      view.setFloat64(0, key);
      return hash64(view.getUint32(0), view.getUint32(4));
    case "string":
      return isIndex(key) ? Number(key) & 0x3fffffff : -1;
    case "bigint": {
      // Only the last 64 bits of its magnitude count.
      let digit = BigInt.asUintN(64, key);
      if (key < 0n) digit = BigInt.asUintN(64, -digit);
      view.setBigUint64(0, digit);
      return hash64(view.getUint32(0), view.getUint32(4));
    }
    default:
      return -1;
  }
}

function isIndex(text: string): boolean {
  const { length } = text;
  if (length === 0 || length > 10) return false;
  for (let i = 0; i < length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 48 || unit > 57) return false;
  }
  return true;
}

function hash32(key: number): number {
  let hash = (~key + (key << 15)) | 0;
  hash ^= hash >>> 12;
  hash = (hash + (hash << 2)) | 0;
  hash ^= hash >>> 4;
  hash = Math.imul(hash, 2057);
  return (hash ^ hash >>> 16) & 0x3fffffff;
}

/** The same for 64 bits, of which there are two halves. */
function hash64(high: number, low: number): number {
  // hash = ~key + (key << 18)
  let sum = (~low >>> 0) + (low << 18 >>> 0);
  high = (~high + (high << 18 | low >>> 14) + (sum > 0xffffffff ? 1 : 0)) | 0;
  low = sum | 0;
  // hash ^= hash >>> 31
  low ^= high << 1 | low >>> 31;
  high ^= high >>> 31;
  // hash *= 21
  sum = (low >>> 0) * 21;
  high = (Math.imul(high, 21) + Math.floor(sum / 0x100000000)) | 0;
  low = sum | 0;
  // hash ^= hash >>> 11
  low ^= high << 21 | low >>> 11;
  high ^= high >>> 11;
  // hash += hash << 6
  sum = (low >>> 0) + (low << 6 >>> 0);
  high = (high + (high << 6 | low >>> 26) + (sum > 0xffffffff ? 1 : 0)) | 0;
  low = sum | 0;
  // hash ^= hash >>> 22
  return (low ^ (high << 10 | low >>> 22)) & 0x3fffffff;
}
