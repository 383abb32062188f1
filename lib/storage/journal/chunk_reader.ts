/**
 * Reads a journal through a small cache.
 *
 * @module
 */
import { viewOf } from "../../serialize/bytes.ts";
import { type OpenFile, readFully } from "../../files/file.ts";
import { Recent } from "./recent.ts";

/** A piece of the file, from a multiple of its size on. */
export interface Chunk {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** How many bytes of it have been read. */
  filled: number;
}

/** How much is read at once where it is not kept. */
export const READ_PIECE = 1024 * 1024;
/** The length of a chunk. */
export const CHUNK = 32 * 1024;
/** How many are kept: 16 MiB. */
const MOST_CHUNKS = 512;
/** How much is read at first where nobody has read lately. */
const FEW = 512;
/** How many of such places are remembered. */
const MOST_PLACES = 16;
/** A place that was read so often lately is worth a chunk: once may be chance. */
const OFTEN = 2;

/**
 * Reads a file that only grows, in aligned chunks. What it returns is never
 * changed: bytes that were written once stay as they are, and a chunk at the
 * end of the file is only filled up.
 */
export class ChunkReader {
  readonly #file: OpenFile;
  #chunks = new Recent<Chunk>(MOST_CHUNKS);
  #number = -1;
  #chunk: Chunk | undefined;
  #places = new Recent<number>(MOST_PLACES);
  readonly #few: Chunk;

  /** Reads an open file. */
  constructor(file: OpenFile) {
    this.#file = file;
    const bytes = new Uint8Array(FEW);
    this.#few = { bytes, view: viewOf(bytes), filled: 0 };
  }

  /**
   * Returns the chunk in which a byte is, with at least the bytes up to
   * `needed` of it, and none from `end` of the file on; or `undefined` if the
   * file is shorter.
   */
  chunk(number: number, needed: number, end: number): Chunk | undefined {
    let chunk = number === this.#number
      ? this.#chunk
      : this.#chunks.get(number);
    if (chunk === undefined || chunk.filled < needed) {
      chunk = this.#fill(number, chunk, end);
      if (chunk.filled < needed) return undefined;
    }
    this.#number = number;
    this.#chunk = chunk;
    return chunk;
  }

  /**
   * Returns a few bytes from an offset on, if nothing near them is in memory or
   * was read often lately: who reads here and there in a large file would throw all
   * else out with whole chunks, and make garbage of them at once. They are good
   * until the next call.
   */
  few(offset: number, end: number): Chunk | undefined {
    const number = Math.floor(offset / CHUNK);
    if (number === this.#number || this.#chunks.get(number) !== undefined) {
      return undefined;
    }
    const times = this.#places.get(number) ?? 0;
    if (times === OFTEN) return undefined;
    this.#places.set(number, times + 1);
    const few = this.#few;
    const length = Math.min(FEW, end - offset);
    few.filled = readFully(this.#file, few.bytes.subarray(0, length), offset);
    return few;
  }

  /**
   * Returns bytes that are before `end` of the file, or `undefined` if the
   * file is shorter than that.
   */
  bytes(offset: number, length: number, end: number): Uint8Array | undefined {
    const number = Math.floor(offset / CHUNK);
    const at = offset - number * CHUNK;
    if (at + length <= CHUNK) {
      return this.chunk(number, at + length, end)?.bytes
        .subarray(at, at + length);
    }
    const bytes = new Uint8Array(length);
    if (length > 2 * CHUNK) {
      return readFully(this.#file, bytes, offset) === length
        ? bytes
        : undefined;
    }
    let done = 0;
    while (done < length) {
      const start = offset + done;
      const number = Math.floor(start / CHUNK);
      const at = start - number * CHUNK;
      const count = Math.min(CHUNK - at, length - done);
      const chunk = this.chunk(number, at + count, end);
      if (chunk === undefined) return undefined;
      bytes.set(chunk.bytes.subarray(at, at + count), done);
      done += count;
    }
    return bytes;
  }

  #fill(number: number, chunk: Chunk | undefined, end: number): Chunk {
    if (chunk === undefined) {
      const bytes = new Uint8Array(CHUNK);
      chunk = { bytes, view: viewOf(bytes), filled: 0 };
      this.#chunks.set(number, chunk);
    }
    const from = chunk.filled;
    const to = Math.min(CHUNK, end - number * CHUNK);
    if (to > from) {
      chunk.filled += readFully(
        this.#file,
        chunk.bytes.subarray(from, to),
        number * CHUNK + from,
      );
    }
    return chunk;
  }
}
