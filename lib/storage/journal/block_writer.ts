/**
 * Writes one block of a journal.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { setUint64, viewOf } from "../../serialize/bytes.ts";
import { type OpenFile, writeFully } from "../../files/file.ts";
import { type BlockHead, encodeBlockHead, ENTRY_HEAD } from "./format.ts";
import type { Tid } from "../storage.ts";

/** A block up to this length is written at once; a longer one in pieces of it. */
const WRITE_PIECE = 4 * 1024 * 1024;

/** Writes one block of a journal, whose length is known before. */
export class BlockWriter {
  readonly #file: OpenFile;
  readonly #length: number;
  #offset: number;
  #buffer: Uint8Array;
  #view: DataView;
  #used = 0;
  #crc = 0;

  /** Begins a block with its head. */
  constructor(file: OpenFile, head: BlockHead) {
    this.#file = file;
    this.#length = head.length;
    this.#offset = head.offset;
    this.#buffer = new Uint8Array(Math.min(head.length, WRITE_PIECE));
    this.#view = viewOf(this.#buffer);
    this.put(encodeBlockHead(head));
  }

  /** Where the next byte will be in the file. */
  get position(): number {
    return this.#offset + this.#used;
  }

  /** Appends bytes. */
  put(bytes: Uint8Array): void {
    let rest = bytes;
    while (rest.length > this.#buffer.length - this.#used) {
      const fits = this.#buffer.length - this.#used;
      this.#buffer.set(rest.subarray(0, fits), this.#used);
      this.#used += fits;
      rest = rest.subarray(fits);
      this.#flush();
    }
    this.#buffer.set(rest, this.#used);
    this.#used += rest.length;
  }

  /** Appends an entry: a record with its head. Returns where it is. */
  putEntry(record: Uint8Array, tid: Tid, previous: number): number {
    const position = this.position;
    const length = ENTRY_HEAD + record.length;
    if (this.#used + length <= this.#buffer.length) {
      const at = this.#used;
      entryHead(this.#view, at, record.length, tid, previous);
      this.#buffer.set(record, at + ENTRY_HEAD);
      this.#used += length;
      const crc = crc32(this.#buffer.subarray(at + 4, this.#used));
      this.#view.setUint32(at, crc);
    } else {
      const head = new Uint8Array(ENTRY_HEAD);
      const view = viewOf(head);
      entryHead(view, 0, record.length, tid, previous);
      view.setUint32(0, crc32(record, crc32(head.subarray(4))));
      this.put(head);
      this.put(record);
    }
    return position;
  }

  /** Ends the block with its trailer. Returns where the next block will be. */
  finish(): number {
    const length = new Uint8Array(8);
    setUint64(viewOf(length), 0, this.#length);
    this.put(length);
    if (this.#buffer.length - this.#used < 4) this.#flush();
    const crc = crc32(this.#buffer.subarray(0, this.#used), this.#crc);
    this.#view.setUint32(this.#used, crc);
    this.#used += 4;
    this.#flush();
    return this.#offset;
  }

  #flush(): void {
    const bytes = this.#buffer.subarray(0, this.#used);
    this.#crc = crc32(bytes, this.#crc);
    writeFully(this.#file, bytes, this.#offset);
    this.#offset += this.#used;
    this.#used = 0;
  }
}

function entryHead(
  view: DataView,
  at: number,
  length: number,
  tid: Tid,
  previous: number,
): void {
  view.setUint32(at + 4, length);
  setUint64(view, at + 8, tid);
  setUint64(view, at + 16, previous);
}
