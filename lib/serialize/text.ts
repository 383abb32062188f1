/**
 * Reads UTF-8. Most strings of a database are short, and many come again and
 * again (names of properties above all), so short ones go through a cache.
 *
 * @module
 */

/** Strings of up to so many bytes are looked up in the cache. */
const CACHED_BYTES = 24;
/** Number of places in the cache, a power of two. */
const CACHE_SIZE = 4096;
/** Strings of up to so many bytes are put together here, longer ones by `TextDecoder`. */
const SHORT_BYTES = 96;

const cache: string[] = new Array(CACHE_SIZE).fill("");
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Returns `length` bytes at `at` as a string; `undefined` if they are not valid UTF-8. */
export function readText(
  bytes: Uint8Array,
  at: number,
  length: number,
): string | undefined {
  if (length > SHORT_BYTES) return readLong(bytes, at, length);
  if (length > CACHED_BYTES) return readShort(bytes, at, length);
  let hash = length;
  for (let i = 0; i < length; i++) {
    hash = Math.imul(hash ^ bytes[at + i]!, 0x01000193);
  }
  const place = (hash ^ hash >>> 15) & (CACHE_SIZE - 1);
  const text = cache[place]!;
  if (text.length === length) {
    let i = 0;
    while (i < length && text.charCodeAt(i) === bytes[at + i]) i++;
    // A text that is not ASCII has a length or a code unit of its own.
    if (i === length) return text;
  }
  const fresh = readShort(bytes, at, length);
  if (fresh !== undefined && fresh.length === length) cache[place] = fresh;
  return fresh;
}

function readShort(
  bytes: Uint8Array,
  at: number,
  length: number,
): string | undefined {
  const units: number[] = [];
  for (let i = 0; i < length; i++) {
    const unit = bytes[at + i]!;
    if (unit > 0x7f) return readLong(bytes, at, length);
    units.push(unit);
  }
  return String.fromCharCode.apply(null, units);
}

function readLong(
  bytes: Uint8Array,
  at: number,
  length: number,
): string | undefined {
  try {
    return decoder.decode(bytes.subarray(at, at + length));
  } catch {
    return undefined;
  }
}
