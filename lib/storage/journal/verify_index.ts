/**
 * Verifies the index of a journal: each of its blocks is compared with all that
 * comes before it, and the index pointers with the blocks.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { getUint64, viewOf } from "../../serialize/bytes.ts";
import type { Oid } from "../../serialize/record.ts";
import type { Tid } from "../storage.ts";
import type { BlockReader } from "./blocks.ts";
import {
  BLOCK_HEAD,
  BLOCK_TRAILER,
  type BlockHead,
  decodePointer,
  POINTER_SIZE,
  POINTERS,
} from "./format.ts";
import {
  blockSize,
  DIRECTORY_ENTRY,
  DIRECTORY_HEAD,
  directoryEnd,
  PAGE_SIZE,
} from "./index.ts";
import { PAGE_ENTRIES } from "./offset_page.ts";
import { OffsetTable } from "./offset_table.ts";
import type { Findings } from "./verify_findings.ts";

/** Where objects are, as the entries say and as the index says. */
export class IndexVerifier {
  /** Where each object's newest entry is. */
  readonly table = new OffsetTable();
  readonly #blocks: BlockReader;
  readonly #findings: Findings;
  /** Every index block: its tid, and what is wrong with it. */
  readonly #indexes = new Map<number, { tid: Tid; wrong?: string }>();
  /** Where pages are that say how things are now, by their numbers. */
  readonly #pages = new Map<number, Set<number>>();

  /** Begins at the beginning of a journal. */
  constructor(blocks: BlockReader, findings: Findings) {
    this.#blocks = blocks;
    this.#findings = findings;
  }

  /** Takes over where an object is from now on. */
  set(oid: Oid, offset: number): void {
    this.table.set(oid, offset);
    this.#pages.delete(Math.floor(oid / PAGE_ENTRIES));
  }

  /** Compares an index block with what comes before it. */
  take(head: BlockHead, good: boolean): void {
    const wrong = this.#checkIndex(head) ??
      (good ? undefined : "its checksum is wrong");
    this.#indexes.set(head.offset, {
      tid: head.tid,
      ...(wrong === undefined ? {} : { wrong }),
    });
  }

  /** Compares an index block with the journal before it; returns what is wrong. */
  #checkIndex(head: BlockHead): string | undefined {
    const { offset, length, count } = head;
    if (length < blockSize(0, count)) return "its length is wrong";
    // Also if the directory is damaged: a later one may lead to these pages.
    const first = offset + length - BLOCK_TRAILER - count * PAGE_SIZE;
    let wrong: string | undefined;
    for (let i = 0; i < count; i++) {
      wrong = this.#checkPage(first + i * PAGE_SIZE) ?? wrong;
    }
    const start = viewOf(
      this.#blocks.bytes(offset, BLOCK_HEAD + DIRECTORY_HEAD),
    );
    const pages = start.getUint32(BLOCK_HEAD + 8);
    if (length !== blockSize(pages, count)) return "its length is wrong";
    return this.#checkDirectory(offset, pages) ?? wrong;
  }

  #checkPage(at: number): string | undefined {
    const bytes = this.#blocks.bytes(at, PAGE_SIZE);
    const view = viewOf(bytes);
    if (view.getUint32(0) !== crc32(bytes.subarray(4))) {
      return `the checksum of its page at byte ${at} is wrong`;
    }
    const number = getUint64(view, 4);
    for (let i = 0; i < PAGE_ENTRIES; i++) {
      const oid = number * PAGE_ENTRIES + i;
      const offset = getUint64(view, 12 + i * 8);
      const here = this.table.get(oid);
      if (offset === here) continue;
      // What could not be read: the index knows better.
      if (this.#findings.isLost(offset)) this.set(oid, offset);
      else {
        return `it says that object #${oid} is ${
          offset === 0 ? "nowhere" : `at byte ${offset}`
        }, and it is ${here === 0 ? "nowhere" : `at byte ${here}`}`;
      }
    }
    const places = this.#pages.get(number);
    if (places === undefined) this.#pages.set(number, new Set([at]));
    else places.add(at);
    return undefined;
  }

  #checkDirectory(offset: number, pages: number): string | undefined {
    const length = directoryEnd(pages);
    const bytes = this.#blocks.bytes(offset, length);
    const view = viewOf(bytes);
    const crc = crc32(bytes.subarray(0, length - 4));
    if (view.getUint32(length - 4) !== crc) {
      return "the checksum of its directory is wrong";
    }
    const previous = getUint64(view, BLOCK_HEAD);
    if (
      previous !== 0 && !this.#indexes.has(previous) &&
      !this.#findings.isLost(previous)
    ) {
      return `it says that the index block before it is at byte ${previous}, and there is none`;
    }
    const found = new Set<number>();
    for (let i = 0; i < pages; i++) {
      const at = BLOCK_HEAD + DIRECTORY_HEAD + i * DIRECTORY_ENTRY;
      const number = getUint64(view, at);
      const page = getUint64(view, at + 8);
      if (!this.#pages.get(number)?.has(page)) {
        return `its page ${number}, at byte ${page}, is damaged or out of date`;
      }
      found.add(number);
    }
    for (const number of this.table.pages) {
      if (!found.has(number)) return `it lacks page ${number}`;
    }
    return undefined;
  }

  /** Compares the index pointers with the index blocks; everything was read before. */
  checkPointers(start: Uint8Array): void {
    const pointers: { at: number; offset: number; tid: Tid }[] = [];
    for (const at of POINTERS) {
      const bytes = start.subarray(at, at + POINTER_SIZE);
      if (bytes.every((byte) => byte === 0)) continue;
      const pointer = decodePointer(bytes);
      if (pointer === undefined) {
        this.#findings.damaged(at, "the checksum of an index pointer is wrong");
      } else if (pointer.offset >= this.#blocks.end) {
        this.#findings.damaged(
          this.#blocks.end,
          `the file was cut there, since its header leads to byte ${pointer.offset}`,
        );
      } else pointers.push({ at, ...pointer });
    }
    pointers.sort((a, b) => b.offset - a.offset);
    let used = -1;
    for (const { at, offset, tid } of pointers) {
      const index = this.#indexes.get(offset);
      if (index === undefined || index.tid !== tid) {
        this.#findings.damaged(
          at,
          `an index pointer leads to byte ${offset}, where no such index block is`,
        );
      } else if (used < 0) used = offset;
    }
    for (const [offset, { wrong }] of this.#indexes) {
      if (wrong === undefined) continue;
      // Whoever opens the file begins with the newest.
      if (offset === used) {
        this.#findings.damaged(offset, `the index is damaged: ${wrong}`);
      } else {
        this.#findings.note(
          `An old index block at byte ${offset} is damaged, which nothing needs any more: ${wrong}`,
        );
      }
    }
  }
}
