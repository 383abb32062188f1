/**
 * Reads a journal from its first byte to its last and tells what is wrong.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { getUint64, viewOf } from "../../serialize/bytes.ts";
import { StorageError } from "../../errors.ts";
import { type Oid, ROOT_OID } from "../../serialize/record.ts";
import { type OpenFile, readFully } from "../../files/file.ts";
import { PAGE_ENTRIES } from "./offset_page.ts";
import { OffsetTable } from "./offset_table.ts";
import { BlockReader } from "./blocks.ts";
import { ChunkReader, READ_PIECE } from "./chunk_reader.ts";
import {
  BLOCK_HEAD,
  BLOCK_TRAILER,
  type BlockHead,
  BlockKind,
  checkMagic,
  decodeBlockHead,
  decodeHeader,
  decodePointer,
  ENTRY_HEAD,
  HEADER_SIZE,
  isUnfinishedHeader,
  OWN_IDENTITY,
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
import { OidQueue } from "../oid_queue.ts";
import { OidSet } from "../oid_set.ts";
import type { Tid } from "../storage.ts";
import type { VerifyProgress, VerifyReport } from "../verify_report.ts";

/** A step ends after so many bytes or objects. */
const STEP_BYTES = 4 * 1024 * 1024;
const STEP_OBJECTS = 2000;
/** So much is listed at most; the rest is counted. */
const MOST = 100;
/** What is before a record's data: its oid and its length. */
const RECORD_HEAD = 12;

/** One entry, without its record. */
interface EntryHead {
  readonly oid: Oid;
  readonly tid: Tid;
  readonly length: number;
  readonly previous: number;
  /** Whether its checksum is right. */
  readonly good: boolean;
  /** Where the references begin, `undefined` if the record is not well-formed. */
  readonly references: number | undefined;
}

/** Reads a journal and reports. Bits for each object stay in memory, and its offset. */
export class JournalVerifier {
  readonly #file: OpenFile;
  readonly #path: string;
  readonly #source: { readonly reader: ChunkReader; end: number };
  readonly #blocks: BlockReader;
  #size = 0;
  #tid: Tid = 0;
  #next: Oid = 0;
  #transactions = 0;
  #records = 0;
  #reachable = 0;
  #unreadable = 0;
  #endsWithCopy = false;
  readonly #table = new OffsetTable();
  readonly #damage: { offset: number; message: string }[] = [];
  readonly #dangling: { oid: Oid; from: Oid }[] = [];
  readonly #notes: string[] = [];
  #damageCount = 0;
  #danglingCount = 0;
  /** What could not be read: from, to; in order, and apart from each other. */
  readonly #lost: [number, number][] = [];
  /** Every index block: its tid, and what is wrong with it. */
  readonly #indexes = new Map<number, { tid: Tid; wrong?: string }>();
  /** Where pages are that say how things are now, by their numbers. */
  readonly #pages = new Map<number, Set<number>>();

  /** Verifies an open file, as long as it is now. */
  constructor(file: OpenFile, path: string) {
    this.#file = file;
    this.#path = path;
    this.#source = { reader: new ChunkReader(file), end: 0 };
    this.#blocks = new BlockReader(
      this.#source,
      () =>
        new StorageError(
          `Cannot verify ${path}: it became shorter while it was read; try again`,
        ),
    );
  }

  /** Does the work in steps, and returns what it has found. */
  *run(): Generator<VerifyProgress, VerifyReport> {
    const start = this.#readStart();
    if (start !== undefined) {
      this.#checkHeader(start);
      yield* this.#scan();
      this.#checkPointers(start);
      yield* this.#walk();
    }
    const { objects } = this.#table;
    return {
      path: this.#path,
      format: "journal",
      size: this.#size,
      transactions: this.#transactions,
      records: this.#records,
      objects,
      reachable: this.#reachable,
      unreachable: objects - this.#reachable,
      unreadable: this.#unreadable,
      good: this.#damageCount === 0 && this.#danglingCount === 0,
      damage: this.#damage,
      damageCount: this.#damageCount,
      dangling: this.#dangling,
      danglingCount: this.#danglingCount,
      notes: this.#notes,
    };
  }

  /** Returns the header and the pointers, `undefined` if there is nothing more to read. */
  #readStart(): Uint8Array | undefined {
    let start = this.#bytesOfStart();
    // Somebody may write a pointer just now.
    for (let again = 0; again < 3 && !pointersAreGood(start); again++) {
      start = this.#bytesOfStart();
    }
    // After the pointers: so they lead to nothing that is not there yet.
    this.#source.end = this.#size = this.#file.size();
    if (start.length === 0 || isUnfinishedHeader(start)) {
      this.#note("The file is empty: a database without any object");
      return undefined;
    }
    checkMagic(start, this.#path);
    if (start.length === HEADER_SIZE) return start;
    this.#damaged(0, "the header is cut off");
    return undefined;
  }

  #bytesOfStart(): Uint8Array {
    const start = new Uint8Array(HEADER_SIZE);
    return start.subarray(0, readFully(this.#file, start, 0));
  }

  #checkHeader(start: Uint8Array): void {
    if (!decodeHeader(start).good) {
      this.#damaged(0, "the header's checksum is wrong");
    }
    const [first, second] = POINTERS;
    for (
      const [from, to] of [
        [OWN_IDENTITY.to, first],
        [first + POINTER_SIZE, second],
        [second + POINTER_SIZE, HEADER_SIZE],
      ] as const
    ) {
      const found = start.subarray(from, to).findIndex((byte) => byte !== 0);
      if (found >= 0) {
        this.#damaged(
          from + found,
          "the header has a byte where nothing is ever written",
        );
      }
    }
  }

  /** Reads block after block. */
  *#scan(): Generator<VerifyProgress> {
    const total = this.#size;
    let at = HEADER_SIZE;
    let step = at + STEP_BYTES;
    while (at < total) {
      const head = this.#blocks.look(at);
      if (head === "unfinished") {
        this.#note(
          `The last ${
            total - at
          } bytes, from byte ${at} on, are a transaction that was not written to its end: it was never confirmed, or is being written now`,
        );
        break;
      }
      if (head === undefined) {
        const next = yield* this.#search(at);
        this.#lose(at, next);
        this.#damaged(
          at,
          next === total
            ? `there is no good block, nor any in the ${
              total - at
            } bytes from there on`
            : `there is no good block; the next one is at byte ${next}`,
        );
        at = next;
        continue;
      }
      this.#checkOrder(head);
      const good = yield* this.#checksum(head);
      if (head.kind === BlockKind.index) this.#takeIndex(head, good);
      else this.#takeEntries(head, good);
      this.#tid = Math.max(this.#tid, head.tid);
      this.#next = Math.max(this.#next, head.next);
      at += head.length;
      if (at < step) continue;
      step = at + STEP_BYTES;
      yield { phase: "journal", done: at, total };
    }
    if (this.#endsWithCopy) {
      this.#damaged(at, "what a pack wrote ends too early");
    }
  }

  /** Returns where the next good head is, the end of the file if there is none. */
  *#search(from: number): Generator<VerifyProgress, number> {
    const total = this.#size;
    const kinds = new Set<number>(Object.values(BlockKind));
    for (let at = from + 1; at + BLOCK_HEAD <= total; at += READ_PIECE) {
      const length = Math.min(READ_PIECE + BLOCK_HEAD, total - at);
      const bytes = this.#bytes(at, length);
      const view = viewOf(bytes);
      const last = Math.min(READ_PIECE - 1, length - BLOCK_HEAD);
      for (let i = 0; i <= last; i++) {
        if (!kinds.has(view.getUint32(i))) continue;
        const head = decodeBlockHead(
          bytes.subarray(i, i + BLOCK_HEAD),
          at + i,
        );
        if (head !== undefined) return at + i;
      }
      yield { phase: "journal", done: at, total };
    }
    return total;
  }

  #checkOrder({ kind, offset, tid, next }: BlockHead): void {
    const late = kind === BlockKind.transaction
      ? tid > this.#tid
      : tid >= this.#tid;
    if (!late || next < this.#next) {
      this.#damaged(offset, "the block is older than the one before it");
    }
  }

  *#checksum(head: BlockHead): Generator<VerifyProgress, boolean> {
    const last = head.offset + head.length - 4;
    let crc = 0;
    for (let at = head.offset; at < last; at += STEP_BYTES) {
      if (at > head.offset) {
        yield { phase: "journal", done: at, total: this.#size };
      }
      crc = this.#blocks.crc(at, Math.min(at + STEP_BYTES, last), crc);
    }
    return this.#blocks.hasTrailer(head, crc);
  }

  #takeEntries(head: BlockHead, good: boolean): void {
    const { kind, offset, length, count } = head;
    this.#endsWithCopy = kind === BlockKind.copy;
    if (kind === BlockKind.transaction) this.#transactions++;
    const before = this.#damageCount;
    const last = offset + length - BLOCK_TRAILER;
    let at = offset + BLOCK_HEAD + head.notes;
    let badBefore = -1;
    for (let i = 0; i < count; i++) {
      const entry = this.#entry(at, last);
      if (entry === undefined) {
        if (badBefore < 0) this.#damaged(at, "there is no good entry");
        this.#lose(badBefore < 0 ? at : badBefore, last);
        return;
      }
      const next = at + ENTRY_HEAD + entry.length;
      if (entry.good) {
        this.#takeEntry(at, entry, head);
        badBefore = -1;
      } else if (badBefore >= 0) {
        // It was the length that was wrong: the rest means nothing.
        this.#lose(badBefore, last);
        return;
      } else {
        this.#damaged(
          at,
          `the checksum of an entry is wrong, perhaps of object #${entry.oid}`,
        );
        this.#lose(at, next);
        badBefore = at;
      }
      at = next;
    }
    if (at !== last && badBefore < 0) {
      this.#damaged(offset, "the block is longer than its entries");
    }
    if (!good && this.#damageCount === before) {
      this.#damaged(offset, "the block's checksum is wrong");
    }
  }

  /** Returns what an entry says, `undefined` if there cannot be one. */
  #entry(at: number, last: number): EntryHead | undefined {
    const room = last - at - ENTRY_HEAD;
    if (room < RECORD_HEAD) return undefined;
    const view = viewOf(this.#bytes(at, ENTRY_HEAD + RECORD_HEAD));
    const length = view.getUint32(4);
    if (length < RECORD_HEAD || length > room) return undefined;
    const end = at + ENTRY_HEAD + length;
    const crc = this.#blocks.crc(at + 4, end);
    const data = view.getUint32(ENTRY_HEAD + 8);
    const rest = length - RECORD_HEAD - data;
    return {
      length,
      oid: getUint64(view, ENTRY_HEAD),
      tid: getUint64(view, 8),
      previous: getUint64(view, 16),
      good: view.getUint32(0) === crc,
      references: rest < 0 || rest % 8 !== 0 ? undefined : end - rest,
    };
  }

  #takeEntry(at: number, entry: EntryHead, head: BlockHead): void {
    const { oid, tid, previous } = entry;
    const isCopy = head.kind === BlockKind.copy;
    this.#records++;
    if (oid >= head.next) {
      this.#damaged(at, `object #${oid} has a number that was not given out`);
      return;
    }
    if (entry.references === undefined) {
      this.#damaged(at, `the record of object #${oid} is not well-formed`);
    }
    if (isCopy ? tid > head.tid : tid !== head.tid) {
      this.#damaged(at, `the entry of object #${oid} has a wrong tid`);
    }
    const newest = this.#table.get(oid);
    const right = previous === newest || (isCopy && previous === 0) ||
      this.#isLost(previous);
    if (!right) {
      this.#damaged(
        at,
        `the entry of object #${oid} says that its previous revision is at byte ${previous}, and it is ${
          newest === 0 ? "nowhere" : `at byte ${newest}`
        }`,
      );
    } else if (isCopy && previous !== 0 && previous === newest) {
      const before = viewOf(this.#bytes(previous, ENTRY_HEAD));
      if (getUint64(before, 8) >= tid) {
        this.#damaged(at, `the revisions of object #${oid} are not in order`);
      }
    }
    this.#set(oid, at);
  }

  #set(oid: Oid, offset: number): void {
    this.#table.set(oid, offset);
    this.#pages.delete(Math.floor(oid / PAGE_ENTRIES));
  }

  #takeIndex(head: BlockHead, good: boolean): void {
    if (good) this.#endsWithCopy = false;
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
    const start = viewOf(this.#bytes(offset, BLOCK_HEAD + DIRECTORY_HEAD));
    const pages = start.getUint32(BLOCK_HEAD + 8);
    if (length !== blockSize(pages, count)) return "its length is wrong";
    return this.#checkDirectory(offset, pages) ?? wrong;
  }

  #checkPage(at: number): string | undefined {
    const bytes = this.#bytes(at, PAGE_SIZE);
    const view = viewOf(bytes);
    if (view.getUint32(0) !== crc32(bytes.subarray(4))) {
      return `the checksum of its page at byte ${at} is wrong`;
    }
    const number = getUint64(view, 4);
    for (let i = 0; i < PAGE_ENTRIES; i++) {
      const oid = number * PAGE_ENTRIES + i;
      const offset = getUint64(view, 12 + i * 8);
      const here = this.#table.get(oid);
      if (offset === here) continue;
      // What could not be read: the index knows better.
      if (this.#isLost(offset)) this.#set(oid, offset);
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
    const bytes = this.#bytes(offset, length);
    const view = viewOf(bytes);
    const crc = crc32(bytes.subarray(0, length - 4));
    if (view.getUint32(length - 4) !== crc) {
      return "the checksum of its directory is wrong";
    }
    const previous = getUint64(view, BLOCK_HEAD);
    if (
      previous !== 0 && !this.#indexes.has(previous) && !this.#isLost(previous)
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
    for (const number of this.#table.pages) {
      if (!found.has(number)) return `it lacks page ${number}`;
    }
    return undefined;
  }

  #checkPointers(start: Uint8Array): void {
    const pointers: { at: number; offset: number; tid: Tid }[] = [];
    for (const at of POINTERS) {
      const bytes = start.subarray(at, at + POINTER_SIZE);
      if (bytes.every((byte) => byte === 0)) continue;
      const pointer = decodePointer(bytes);
      if (pointer === undefined) {
        this.#damaged(at, "the checksum of an index pointer is wrong");
      } else if (pointer.offset >= this.#size) {
        this.#damaged(
          this.#size,
          `the file was cut there, since its header leads to byte ${pointer.offset}`,
        );
      } else pointers.push({ at, ...pointer });
    }
    pointers.sort((a, b) => b.offset - a.offset);
    let used = -1;
    for (const { at, offset, tid } of pointers) {
      const index = this.#indexes.get(offset);
      if (index === undefined || index.tid !== tid) {
        this.#damaged(
          at,
          `an index pointer leads to byte ${offset}, where no such index block is`,
        );
      } else if (used < 0) used = offset;
    }
    for (const [offset, { wrong }] of this.#indexes) {
      if (wrong === undefined) continue;
      // Whoever opens the file begins with the newest.
      if (offset === used) {
        this.#damaged(offset, `the index is damaged: ${wrong}`);
      } else {
        this.#note(
          `An old index block at byte ${offset} is damaged, which nothing needs any more: ${wrong}`,
        );
      }
    }
  }

  /** Follows all references from the root. */
  *#walk(): Generator<VerifyProgress> {
    const table = this.#table;
    const total = table.objects;
    if (total === 0) return;
    if (table.get(ROOT_OID) === 0) {
      this.#note("There is no root, so nothing can be reached");
      return;
    }
    const seen = new OidSet();
    const queue = new OidQueue();
    seen.add(ROOT_OID);
    queue.push(ROOT_OID);
    for (let oid = queue.shift(); oid !== undefined; oid = queue.shift()) {
      this.#reachable++;
      for (const reference of this.#references(oid)) {
        if (reference >= this.#next) this.#danglingAt(reference, oid);
        else if (seen.add(reference)) {
          if (table.get(reference) === 0) this.#danglingAt(reference, oid);
          else queue.push(reference);
        }
      }
      if (this.#reachable % STEP_OBJECTS === 0) {
        yield { phase: "objects", done: this.#reachable, total };
      }
    }
  }

  *#references(oid: Oid): Generator<Oid> {
    const offset = this.#table.get(oid);
    const last = this.#size - BLOCK_TRAILER;
    const entry = this.#entry(offset, last);
    if (entry?.oid !== oid || !entry.good) {
      this.#unreadable++;
      this.#damaged(offset, `object #${oid} cannot be loaded any more`);
      return;
    }
    const end = offset + ENTRY_HEAD + entry.length;
    for (let from = entry.references ?? end; from < end; from += READ_PIECE) {
      const view = viewOf(this.#bytes(from, Math.min(READ_PIECE, end - from)));
      for (let i = 0; i < view.byteLength; i += 8) yield getUint64(view, i);
    }
  }

  /** Notes that a part cannot be read. None begins before the one noted last. */
  #lose(from: number, to: number): void {
    const last = this.#lost.at(-1);
    if (last !== undefined && from <= last[1]) last[1] = Math.max(last[1], to);
    else this.#lost.push([from, to]);
  }

  #isLost(offset: number): boolean {
    let low = 0;
    let high = this.#lost.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#lost[middle]![1] <= offset) low = middle + 1;
      else high = middle;
    }
    return low < this.#lost.length && this.#lost[low]![0] <= offset;
  }

  #bytes(offset: number, length: number): Uint8Array {
    return this.#blocks.bytes(offset, length);
  }

  #damaged(offset: number, message: string): void {
    if (this.#damageCount++ < MOST) this.#damage.push({ offset, message });
  }

  #danglingAt(oid: Oid, from: Oid): void {
    if (this.#danglingCount++ < MOST) this.#dangling.push({ oid, from });
  }

  #note(note: string): void {
    if (this.#notes.length < MOST) this.#notes.push(note);
  }
}

function pointersAreGood(start: Uint8Array): boolean {
  return start.length < HEADER_SIZE || POINTERS.every((at) => {
    const bytes = start.subarray(at, at + POINTER_SIZE);
    return bytes.every((byte) => byte === 0) || decodePointer(bytes);
  });
}
