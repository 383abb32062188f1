/**
 * Reads a journal from its first byte to its last and tells what is wrong: its
 * header, its blocks and their entries here; its index and its objects in files
 * of their own.
 *
 * @module
 */
import { getUint64, viewOf } from "../../serialize/bytes.ts";
import { StorageError } from "../../errors.ts";
import type { Oid } from "../../serialize/record.ts";
import { type OpenFile, readFully } from "../../files/file.ts";
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
import type { Progress, Tid } from "../storage.ts";
import type { VerifyReport } from "../verify_report.ts";
import { Findings } from "./verify_findings.ts";
import { IndexVerifier } from "./verify_index.ts";
import {
  type EntryHead,
  ObjectVerifier,
  readEntryHead,
} from "./verify_objects.ts";

/** A step ends after so many bytes. */
const STEP_BYTES = 4 * 1024 * 1024;

/** Reads a journal and reports. Bits for each object stay in memory, and its offset. */
export class JournalVerifier {
  readonly #file: OpenFile;
  readonly #path: string;
  readonly #source: { readonly reader: ChunkReader; end: number };
  readonly #blocks: BlockReader;
  #tid: Tid = 0;
  #next: Oid = 0;
  #transactions = 0;
  #records = 0;
  #endsWithCopy = false;
  readonly #findings = new Findings();
  readonly #index: IndexVerifier;
  readonly #objects: ObjectVerifier;

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
    this.#index = new IndexVerifier(this.#blocks, this.#findings);
    this.#objects = new ObjectVerifier(this.#blocks, this.#findings);
  }

  /** Does the work in steps, and returns what it has found. */
  *run(): Generator<Progress, VerifyReport> {
    const start = this.#readStart();
    if (start !== undefined) {
      this.#checkHeader(start);
      yield* this.#scan();
      this.#index.checkPointers(start);
      yield* this.#objects.run(this.#index.table, this.#next);
    }
    const { objects } = this.#index.table;
    const { reachable, unreadable } = this.#objects;
    return {
      path: this.#path,
      format: "journal",
      size: this.#blocks.end,
      transactions: this.#transactions,
      records: this.#records,
      objects,
      reachable,
      unreachable: objects - reachable,
      unreadable,
      ...this.#findings.report,
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
    this.#source.end = this.#file.size();
    if (start.length === 0 || isUnfinishedHeader(start)) {
      this.#findings.note("The file is empty: a database without any object");
      return undefined;
    }
    checkMagic(start, this.#path);
    if (start.length === HEADER_SIZE) return start;
    this.#findings.damaged(0, "the header is cut off");
    return undefined;
  }

  #bytesOfStart(): Uint8Array {
    const start = new Uint8Array(HEADER_SIZE);
    return start.subarray(0, readFully(this.#file, start, 0));
  }

  #checkHeader(start: Uint8Array): void {
    if (!decodeHeader(start).good) {
      this.#findings.damaged(0, "the header's checksum is wrong");
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
        this.#findings.damaged(
          from + found,
          "the header has a byte where nothing is ever written",
        );
      }
    }
  }

  #reading(bytes: number): Progress {
    const fraction = bytes / this.#blocks.end;
    return { phase: "reading", records: this.#records, bytes, fraction };
  }

  /** Reads block after block. */
  *#scan(): Generator<Progress> {
    const total = this.#blocks.end;
    let at = HEADER_SIZE;
    let step = at + STEP_BYTES;
    while (at < total) {
      const head = this.#blocks.look(at);
      if (head === "unfinished") {
        this.#findings.note(
          `The last ${
            total - at
          } bytes, from byte ${at} on, are a transaction that was not written to its end: it was never confirmed, or is being written now`,
        );
        break;
      }
      if (head === undefined) {
        const next = yield* this.#search(at);
        this.#findings.lose(at, next);
        this.#findings.damaged(
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
      if (head.kind === BlockKind.index) {
        if (good) this.#endsWithCopy = false;
        this.#index.take(head, good);
      } else this.#takeEntries(head, good);
      this.#tid = Math.max(this.#tid, head.tid);
      this.#next = Math.max(this.#next, head.next);
      at += head.length;
      if (at < step) continue;
      step = at + STEP_BYTES;
      yield this.#reading(at);
    }
    if (this.#endsWithCopy) {
      this.#findings.damaged(at, "what a pack wrote ends too early");
    }
  }

  /** Returns where the next good head is, the end of the file if there is none. */
  *#search(from: number): Generator<Progress, number> {
    const total = this.#blocks.end;
    const kinds = new Set<number>(Object.values(BlockKind));
    for (let at = from + 1; at + BLOCK_HEAD <= total; at += READ_PIECE) {
      const length = Math.min(READ_PIECE + BLOCK_HEAD, total - at);
      const bytes = this.#blocks.bytes(at, length);
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
      yield this.#reading(at);
    }
    return total;
  }

  #checkOrder({ kind, offset, tid, next }: BlockHead): void {
    const late = kind === BlockKind.transaction
      ? tid > this.#tid
      : tid >= this.#tid;
    if (!late || next < this.#next) {
      this.#findings.damaged(
        offset,
        "the block is older than the one before it",
      );
    }
  }

  *#checksum(head: BlockHead): Generator<Progress, boolean> {
    const last = head.offset + head.length - 4;
    let crc = 0;
    for (let at = head.offset; at < last; at += STEP_BYTES) {
      if (at > head.offset) {
        yield this.#reading(at);
      }
      crc = this.#blocks.crc(at, Math.min(at + STEP_BYTES, last), crc);
    }
    return this.#blocks.hasTrailer(head, crc);
  }

  #takeEntries(head: BlockHead, good: boolean): void {
    const { kind, offset, length, count } = head;
    this.#endsWithCopy = kind === BlockKind.copy;
    if (kind === BlockKind.transaction) this.#transactions++;
    const before = this.#findings.damageCount;
    const last = offset + length - BLOCK_TRAILER;
    let at = offset + BLOCK_HEAD + head.notes;
    let badBefore = -1;
    for (let i = 0; i < count; i++) {
      const entry = readEntryHead(this.#blocks, at, last);
      if (entry === undefined) {
        if (badBefore < 0) this.#findings.damaged(at, "there is no good entry");
        this.#findings.lose(badBefore < 0 ? at : badBefore, last);
        return;
      }
      const next = at + ENTRY_HEAD + entry.length;
      if (entry.good) {
        this.#takeEntry(at, entry, head);
        badBefore = -1;
      } else if (badBefore >= 0) {
        // It was the length that was wrong: the rest means nothing.
        this.#findings.lose(badBefore, last);
        return;
      } else {
        this.#findings.damaged(
          at,
          `the checksum of an entry is wrong, perhaps of object #${entry.oid}`,
        );
        this.#findings.lose(at, next);
        badBefore = at;
      }
      at = next;
    }
    if (at !== last && badBefore < 0) {
      this.#findings.damaged(offset, "the block is longer than its entries");
    }
    if (!good && this.#findings.damageCount === before) {
      this.#findings.damaged(offset, "the block's checksum is wrong");
    }
  }

  #takeEntry(at: number, entry: EntryHead, head: BlockHead): void {
    const { oid, tid, previous } = entry;
    const isCopy = head.kind === BlockKind.copy;
    this.#records++;
    if (oid >= head.next) {
      this.#findings.damaged(
        at,
        `object #${oid} has a number that was not given out`,
      );
      return;
    }
    if (entry.references === undefined) {
      this.#findings.damaged(
        at,
        `the record of object #${oid} is not well-formed`,
      );
    }
    if (isCopy ? tid > head.tid : tid !== head.tid) {
      this.#findings.damaged(at, `the entry of object #${oid} has a wrong tid`);
    }
    const newest = this.#index.table.get(oid);
    const right = previous === newest || (isCopy && previous === 0) ||
      this.#findings.isLost(previous);
    if (!right) {
      this.#findings.damaged(
        at,
        `the entry of object #${oid} says that its previous revision is at byte ${previous}, and it is ${
          newest === 0 ? "nowhere" : `at byte ${newest}`
        }`,
      );
    } else if (isCopy && previous !== 0 && previous === newest) {
      const before = viewOf(this.#blocks.bytes(previous, ENTRY_HEAD));
      if (getUint64(before, 8) >= tid) {
        this.#findings.damaged(
          at,
          `the revisions of object #${oid} are not in order`,
        );
      }
    }
    this.#index.set(oid, at);
  }
}

function pointersAreGood(start: Uint8Array): boolean {
  return start.length < HEADER_SIZE || POINTERS.every((at) => {
    const bytes = start.subarray(at, at + POINTER_SIZE);
    return bytes.every((byte) => byte === 0) || decodePointer(bytes);
  });
}
