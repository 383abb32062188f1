/**
 * Where each object's newest record is in a journal.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { getUint64, setUint64, viewOf } from "../../serialize/bytes.ts";
import type { OpenFile } from "../../files/file.ts";
import { OffsetPage, PAGE_BYTES, PAGE_ENTRIES } from "./offset_page.ts";
import { Recent } from "./recent.ts";
import { BlockWriter } from "./block_writer.ts";
import type { ChunkReader } from "./chunk_reader.ts";
import {
  BLOCK_HEAD,
  BLOCK_TRAILER,
  type BlockHead,
  BlockKind,
  decodeBlockHead,
  encodeBlockHead,
} from "./format.ts";
import type { Oid } from "../../serialize/record.ts";
import type { Tid } from "../storage.ts";

/** A page in the file: its checksum, its number, its entries. */
export const PAGE_SIZE = 12 + PAGE_BYTES;
/** How many pages that are as in the file are kept in memory: 8 MiB. */
const MOST_PAGES = 1024;

/** What is before the directory: the previous index block's offset, how many pages there are. */
export const DIRECTORY_HEAD = 12;
/** A page's number and its offset. */
export const DIRECTORY_ENTRY = 16;

/** A page of the index is damaged. The caller knows how to say so. */
export class DamagedPage extends Error {
  /** Makes it for the page at an offset. */
  constructor(readonly offset: number) {
    super(`damaged page at ${offset}`);
  }
}

/** Which bytes of the file to read: they must be before its end. */
export type ReadBytes = (
  offset: number,
  length: number,
) => Uint8Array | undefined;

/** What is known of an index block. */
export interface IndexBlock {
  /** The last transaction that it covers. */
  readonly tid: Tid;
  /** The first number that was never given out. */
  readonly next: Oid;
  /** Where the block ends. */
  readonly end: number;
  /** Where each page is, by its number. */
  readonly directory: Map<number, number>;
}

/**
 * An array of offsets, by object number, in pages. Pages are read from the
 * file when they are needed; those that were changed stay in memory until they
 * are written.
 */
export class JournalIndex {
  readonly #read: ReadBytes;
  #directory: Map<number, number>;
  #changed = new Map<number, OffsetPage>();
  readonly #unchanged: Recent<OffsetPage>;
  // The page used last: neighbours come together.
  #number = -1;
  #page: OffsetPage | undefined;

  /** An index of what a directory leads to. `whole` keeps all of it in memory, once read. */
  constructor(
    read: ReadBytes,
    directory: Map<number, number> = new Map(),
    whole = false,
  ) {
    this.#read = read;
    this.#directory = directory;
    this.#unchanged = new Recent(whole ? Infinity : MOST_PAGES);
  }

  /** How many bytes a block with all changes would have. */
  get cost(): number {
    let pages = this.#directory.size;
    for (const number of this.#changed.keys()) {
      if (!this.#directory.has(number)) pages++;
    }
    return blockSize(pages, this.#changed.size);
  }

  /** Returns an object's offset, 0 if there is none. */
  get(oid: Oid): number {
    const number = Math.floor(oid / PAGE_ENTRIES);
    if (number !== this.#number) {
      this.#page = this.#find(number);
      this.#number = number;
    }
    if (this.#page === undefined) return 0;
    return this.#page.get(oid - number * PAGE_ENTRIES);
  }

  /** Like `get`, and makes sure that `set` cannot fail. */
  prepare(oid: Oid): number {
    this.#changing(Math.floor(oid / PAGE_ENTRIES));
    return this.get(oid);
  }

  /** Sets an object's offset. */
  set(oid: Oid, offset: number): void {
    const number = Math.floor(oid / PAGE_ENTRIES);
    this.#changing(number).set(oid - number * PAGE_ENTRIES, offset);
  }

  /** Goes through the numbers of all objects, the smallest first. */
  *oids(): Generator<Oid> {
    const numbers = new Set([
      ...this.#directory.keys(),
      ...this.#changed.keys(),
    ]);
    for (const number of [...numbers].sort((a, b) => a - b)) {
      for (const place of this.#find(number)?.places() ?? []) {
        yield number * PAGE_ENTRIES + place;
      }
    }
  }

  /** Reads all pages, so that they are in memory. Throws {@linkcode DamagedPage} if one is damaged. */
  readAll(): void {
    for (const number of this.#directory.keys()) this.#find(number);
  }

  /** Throws {@linkcode DamagedPage} if any page is damaged. */
  check(): void {
    for (const [number, offset] of this.#directory) {
      this.#readPage(number, offset);
    }
  }

  /**
   * Writes a block with what was changed since the last one, and where
   * everything is. Returns where it ends, and what `take()` needs when it is
   * there for sure.
   */
  write(
    file: OpenFile,
    at: { offset: number; tid: Tid; next: Oid; previous: number },
  ): { end: number; directory: Map<number, number> } {
    const directory = new Map(this.#directory);
    for (const number of this.#changed.keys()) directory.set(number, 0);
    const firstPage = at.offset + directoryEnd(directory.size);
    let offset = firstPage;
    for (const number of this.#changed.keys()) {
      directory.set(number, offset);
      offset += PAGE_SIZE;
    }
    const head: BlockHead = {
      kind: BlockKind.index,
      count: this.#changed.size,
      offset: at.offset,
      length: blockSize(directory.size, this.#changed.size),
      tid: at.tid,
      next: at.next,
      notes: 0,
    };
    const writer = new BlockWriter(file, head);
    writer.put(encodeDirectory(head, at.previous, directory));
    for (const [number, page] of this.#changed) {
      writer.put(encodePage(number, page));
    }
    return { end: writer.finish(), directory };
  }

  /** Takes over what `write()` has written. */
  take(directory: Map<number, number>): void {
    this.#directory = directory;
    for (const [number, page] of this.#changed) {
      this.#unchanged.set(number, page);
    }
    this.#changed.clear();
  }

  #find(number: number): OffsetPage | undefined {
    const page = this.#changed.get(number) ?? this.#unchanged.get(number);
    if (page !== undefined) return page;
    const offset = this.#directory.get(number);
    if (offset === undefined) return undefined;
    const read = this.#readPage(number, offset);
    this.#unchanged.set(number, read);
    return read;
  }

  #changing(number: number): OffsetPage {
    let page = this.#changed.get(number);
    if (page !== undefined) return page;
    page = this.#find(number) ?? new OffsetPage();
    this.#unchanged.delete(number);
    this.#changed.set(number, page);
    if (number === this.#number) this.#page = page;
    return page;
  }

  #readPage(number: number, offset: number): OffsetPage {
    const bytes = this.#read(offset, PAGE_SIZE);
    if (bytes === undefined) throw new DamagedPage(offset);
    const view = viewOf(bytes);
    if (
      view.getUint32(0) !== crc32(bytes.subarray(4)) ||
      getUint64(view, 4) !== number
    ) throw new DamagedPage(offset);
    return new OffsetPage(viewOf(bytes.slice(12)));
  }
}

/** Returns what an index block says, or `undefined` if there is no good one at the offset. */
export function readIndexBlock(
  reader: ChunkReader,
  offset: number,
  size: number,
): IndexBlock | undefined {
  if (offset + BLOCK_HEAD + DIRECTORY_HEAD > size) return undefined;
  const start = reader.bytes(offset, BLOCK_HEAD + DIRECTORY_HEAD, size);
  if (start === undefined) return undefined;
  const head = decodeBlockHead(start, offset);
  if (head?.kind !== BlockKind.index || offset + head.length > size) {
    return undefined;
  }
  const count = viewOf(start).getUint32(BLOCK_HEAD + 8);
  const length = directoryEnd(count);
  if (head.length !== blockSize(count, head.count)) return undefined;
  const bytes = reader.bytes(offset, length, size);
  if (bytes === undefined) return undefined;
  const view = viewOf(bytes);
  const crc = crc32(bytes.subarray(0, length - 4));
  if (view.getUint32(length - 4) !== crc) return undefined;
  const directory = new Map<number, number>();
  for (let i = 0; i < count; i++) {
    const at = BLOCK_HEAD + DIRECTORY_HEAD + i * DIRECTORY_ENTRY;
    const page = getUint64(view, at + 8);
    if (page + PAGE_SIZE > offset + head.length) return undefined;
    directory.set(getUint64(view, at), page);
  }
  const end = offset + head.length;
  return { tid: head.tid, next: head.next, end, directory };
}

/** Returns how long an index block is up to the end of its directory. */
export function directoryEnd(pages: number): number {
  return BLOCK_HEAD + DIRECTORY_HEAD + pages * DIRECTORY_ENTRY + 4;
}

/** Returns how long an index block is with so many pages in its directory, and so many that it holds. */
export function blockSize(pages: number, written: number): number {
  return directoryEnd(pages) + written * PAGE_SIZE + BLOCK_TRAILER;
}

/** The checksum covers the block's head too, which is written before. */
function encodeDirectory(
  head: BlockHead,
  previous: number,
  directory: Map<number, number>,
): Uint8Array {
  const bytes = new Uint8Array(directoryEnd(directory.size));
  const view = viewOf(bytes);
  bytes.set(encodeBlockHead(head));
  setUint64(view, BLOCK_HEAD, previous);
  view.setUint32(BLOCK_HEAD + 8, directory.size);
  let at = BLOCK_HEAD + DIRECTORY_HEAD;
  for (const [number, offset] of directory) {
    setUint64(view, at, number);
    setUint64(view, at + 8, offset);
    at += DIRECTORY_ENTRY;
  }
  view.setUint32(at, crc32(bytes.subarray(0, at)));
  return bytes.subarray(BLOCK_HEAD);
}

function encodePage(number: number, page: OffsetPage): Uint8Array {
  const bytes = new Uint8Array(PAGE_SIZE);
  const view = viewOf(bytes);
  setUint64(view, 4, number);
  page.copyTo(view, 12);
  view.setUint32(0, crc32(bytes.subarray(4)));
  return bytes;
}
