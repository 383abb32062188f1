/**
 * A journal as blocks, one after the other: what is at a place, what comes
 * after it, and what comes before it. Everybody who goes through a journal does
 * so with this, and so by the same rules about its end.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { getUint64, viewOf } from "../../serialize/bytes.ts";
import { type ChunkReader, READ_PIECE } from "./chunk_reader.ts";
import {
  BLOCK_HEAD,
  BLOCK_TRAILER,
  type BlockHead,
  decodeBlockHead,
  HEADER_SIZE,
} from "./format.ts";

/** The bytes in which blocks are. */
export interface BlockSource {
  readonly reader: ChunkReader;
  /** How much of the file there is to read; it may grow. */
  readonly end: number;
}

/** Reads the blocks of a journal. */
export class BlockReader {
  readonly #source: BlockSource;
  readonly #tooShort: (offset: number) => Error;

  /** `tooShort` makes the error for a file that is shorter than it was said to be. */
  constructor(source: BlockSource, tooShort: (offset: number) => Error) {
    this.#source = source;
    this.#tooShort = tooShort;
  }

  /** How much of the file there is to read. */
  get end(): number {
    return this.#source.end;
  }

  /** Returns bytes, which must not be changed. */
  bytes(offset: number, length: number): Uint8Array {
    const { reader, end } = this.#source;
    if (offset + length <= end) {
      const bytes = reader.bytes(offset, length, end);
      if (bytes !== undefined) return bytes;
    }
    throw this.#tooShort(offset);
  }

  /** Whether a part of the file is nothing but zeros. */
  isZero(from: number, to: number): boolean {
    for (let at = from; at < to; at += READ_PIECE) {
      const bytes = this.bytes(at, Math.min(READ_PIECE, to - at));
      if (bytes.some((byte) => byte !== 0)) return false;
    }
    return true;
  }

  /**
   * Returns the head of the block that begins at an offset, `undefined` if
   * there is no good one. "unfinished" is what remains of a block that was not
   * written to its end: it was never confirmed, or is being written now.
   */
  look(offset: number): BlockHead | "unfinished" | undefined {
    if (offset < HEADER_SIZE) return undefined;
    const { end } = this;
    const left = end - offset;
    if (left < BLOCK_HEAD) return "unfinished";
    const head = decodeBlockHead(this.bytes(offset, BLOCK_HEAD), offset);
    if (head === undefined) {
      // After a power failure the length may be there without the bytes.
      return this.isZero(offset, end) ? "unfinished" : undefined;
    }
    if (head.length > left) return "unfinished";
    const isLast = head.length === left;
    if (isLast && this.isZero(end - BLOCK_TRAILER, end)) return "unfinished";
    return head;
  }

  /** Returns the head of the whole block that begins at an offset, `undefined` if there is none. */
  find(offset: number): BlockHead | undefined {
    const head = this.look(offset);
    return head === "unfinished" ? undefined : head;
  }

  /** Returns the CRC of a part of the file, which may go on from that of what is before it. */
  crc(from: number, to: number, crc = 0): number {
    for (let at = from; at < to; at += READ_PIECE) {
      crc = crc32(this.bytes(at, Math.min(READ_PIECE, to - at)), crc);
    }
    return crc;
  }

  /** Whether a whole block is as it was written. */
  isIntact(head: BlockHead): boolean {
    const { offset, length } = head;
    return this.hasTrailer(head, this.crc(offset, offset + length - 4));
  }

  /** Whether a block's trailer says its length, and this CRC. */
  hasTrailer({ offset, length }: BlockHead, crc: number): boolean {
    const at = offset + length - BLOCK_TRAILER;
    const view = viewOf(this.bytes(at, BLOCK_TRAILER));
    return getUint64(view, 0) === length && view.getUint32(8) === crc;
  }
}

/** Settings of a {@linkcode BlockCursor}. */
export interface CursorOptions {
  /** Where it begins: just after the header if it is left out. */
  readonly at?: number;
  /** Makes the error for what is damaged, as whoever reads says it. */
  readonly damaged: (offset: number, why: string) => Error;
  /** Whether every block was written to its end: one that was not is damage then. */
  readonly whole?: boolean;
}

/**
 * A place between two blocks, from which one can go either way. It sees what
 * is appended while it is in use.
 */
export class BlockCursor {
  /** Where the next block begins, and the one before ends. */
  at: number;
  readonly #blocks: BlockReader;
  readonly #damaged: (offset: number, why: string) => Error;
  readonly #whole: boolean;

  /** Begins where the options say. */
  constructor(
    blocks: BlockReader,
    { at = HEADER_SIZE, damaged, whole = false }: CursorOptions,
  ) {
    this.#blocks = blocks;
    this.at = at;
    this.#damaged = damaged;
    this.#whole = whole;
  }

  /**
   * Goes over the next block, and returns its head. It stays, and returns
   * `undefined`, where there is no more, or only what was not written to its end.
   */
  next(): BlockHead | undefined {
    const { at } = this;
    if (at >= this.#blocks.end) return undefined;
    const head = this.#blocks.look(at);
    if (head === undefined || (head === "unfinished" && this.#whole)) {
      throw this.#damaged(at, "there is no good block");
    }
    if (head === "unfinished") return undefined;
    this.at = at + head.length;
    return head;
  }

  /** Goes back over the block before, and returns its head; `undefined` where the first one begins. */
  previous(): BlockHead | undefined {
    if (this.at <= HEADER_SIZE) return undefined;
    const at = this.at - BLOCK_TRAILER;
    const trailer = viewOf(this.#blocks.bytes(at, BLOCK_TRAILER));
    const length = getUint64(trailer, 0);
    const head = this.#blocks.find(this.at - length);
    if (head?.length !== length) {
      throw this.#damaged(
        at,
        "the end of a block does not lead to its beginning",
      );
    }
    this.at = head.offset;
    return head;
  }

  /** Goes over all blocks that follow. */
  *forward(): Generator<BlockHead, void> {
    for (let head = this.next(); head; head = this.next()) yield head;
  }

  /** Goes back over all blocks before. */
  *backward(): Generator<BlockHead, void> {
    for (let head = this.previous(); head; head = this.previous()) yield head;
  }
}
