/**
 * One open journal file: loading and appending. `recovery.ts` opens it,
 * `docs/format.md` describes it.
 *
 * @module
 */
import { getUint64, viewOf } from "../../serialize/bytes.ts";
import { messageOf } from "../../message.ts";
import { crc32 } from "node:zlib";
import { DamagedFileError, DharaError, StorageError } from "../../errors.ts";
import type { Oid } from "../../serialize/record.ts";
import { type OpenFile, writeFully } from "../../files/file.ts";
import { BlockWriter } from "./block_writer.ts";
import { CHUNK, ChunkReader } from "./chunk_reader.ts";
import {
  BLOCK_HEAD,
  BLOCK_TRAILER,
  type BlockHead,
  BlockKind,
  encodeHeader,
  encodePointer,
  ENTRY_HEAD,
  type Header,
  HEADER_HEAD,
  HEADER_SIZE,
  POINTERS,
} from "./format.ts";
import { DamagedPage, JournalIndex } from "./index.ts";
import type { Tid } from "../storage.ts";

/** What opening a file with `repair` has changed in it. */
export interface Repair {
  /**
   * What was done: damage and what followed was cut off (`cut`), a transaction
   * that was never confirmed was cut off (`unfinished`), the index or the
   * header was written anew.
   */
  readonly kind: "cut" | "unfinished" | "index" | "header";
  /** Where, in bytes from the beginning of the file. */
  readonly offset: number;
  /** How many bytes were cut off, 0 if none were. */
  readonly bytes: number;
  /** The file that holds what was cut off. */
  readonly saved?: string;
}

/** One revision of one object. */
export interface Revision {
  readonly tid: Tid;
  readonly record: Uint8Array;
  /** Where the revision before it is, 0 if there is none. */
  readonly previous: number;
}

/** One revision to be written. */
export interface NewRevision {
  readonly oid: Oid;
  readonly tid: Tid;
  readonly record: Uint8Array;
}

/** An index block is not worth its while before that many bytes. */
const LEAST_BETWEEN_INDEXES = 1024 * 1024;
/** When closing it is worth more: the next opening is sure to come. */
const LEAST_BEFORE_CLOSING = 64 * 1024;

/** An open journal file. */
export class Journal {
  /** What to call it in messages. */
  readonly name: string;
  /** What the header says. */
  header: Header;
  /** Where the next block will be. */
  end = HEADER_SIZE;
  /** The last transaction. */
  tid: Tid = 0;
  /** The first number that was never given out, as far as the file says. */
  next: Oid = 0;
  /** Where every object is. */
  index: JournalIndex;
  /** Reads the file. */
  reader: ChunkReader;
  /** Where the last index block is, 0 if there is none. */
  indexOffset = 0;
  /** Where it ends: what follows is read when the file is opened. */
  indexedTo = HEADER_SIZE;
  /** Whether what was copied last still lacks the block that makes it valid. */
  endsWithCopy = false;
  /** What opening it with `repair` has changed. */
  repairs: readonly Repair[] = [];
  readonly #file: OpenFile;
  readonly #sync: boolean;
  /** Whether all of the index stays in memory, once read. */
  readonly indexInMemory: boolean;
  #lastPointer = 1;
  #users = 1;
  #broken: StorageError | undefined;
  /** What was found damaged first. */
  #damage: DamagedFileError | undefined;

  /** A journal of an open file that has a header, as if there were nothing else in it. */
  constructor(
    file: OpenFile,
    name: string,
    header: Header,
    { sync = true, indexInMemory = false }: {
      sync?: boolean;
      indexInMemory?: boolean;
    } = {},
  ) {
    this.indexInMemory = indexInMemory;
    this.#file = file;
    this.#sync = sync;
    this.name = name;
    this.header = header;
    this.reader = new ChunkReader(file);
    this.index = this.newIndex();
  }

  /** The file. */
  get file(): OpenFile {
    return this.#file;
  }

  /** Whether each commit waits until it is on the disk. */
  get sync(): boolean {
    return this.#sync;
  }

  /** Returns an index of this file with the pages that a directory leads to. */
  newIndex(directory?: Map<number, number>): JournalIndex {
    return new JournalIndex(
      (offset, length) =>
        offset + length <= this.end
          ? this.reader.bytes(offset, length, this.end)
          : undefined,
      directory,
      this.indexInMemory,
    );
  }

  /** Says that somebody reads it, until `release()`. */
  retain(): void {
    this.#users++;
  }

  /** Closes the file when nobody reads it any more. */
  release(): void {
    if (--this.#users === 0) this.#file.close();
  }

  /** Whether there is an object of this number. */
  holds(oid: Oid): boolean {
    return this.offsetOf(oid) !== 0;
  }

  /** Returns where an object's newest entry is, 0 if there is none. */
  offsetOf(oid: Oid): number {
    try {
      return this.index.get(oid);
    } catch (error) {
      throw this.#explainLoad(error, oid);
    }
  }

  /** Returns an object's record as of a moment, or `undefined` if there was none. */
  load(oid: Oid, tid: Tid): Uint8Array | undefined {
    try {
      let offset = this.index.get(oid);
      while (offset !== 0) {
        const entry = this.#entry(offset, oid);
        if (entry.tid <= tid) return entry.record;
        offset = entry.previous;
      }
      return undefined;
    } catch (error) {
      throw this.#explainLoad(error, oid);
    }
  }

  /**
   * Returns how long the record is that `load()` would return, 0 if there is
   * none. Reads no more than where it begins, and so cannot see damage.
   */
  length(oid: Oid, tid: Tid): number {
    try {
      for (let offset = this.index.get(oid); offset !== 0;) {
        const head = this.reader.bytes(offset, ENTRY_HEAD, this.end);
        if (head === undefined) return 0;
        const view = viewOf(head);
        if (getUint64(view, 8) <= tid) return view.getUint32(4);
        const previous = getUint64(view, 16);
        if (previous >= offset) return 0;
        offset = previous;
      }
      return 0;
    } catch (error) {
      throw this.#explainLoad(error, oid);
    }
  }

  /** Returns the entry at an offset, which must be of this object. */
  entry(offset: number, oid: Oid): Revision {
    try {
      return this.#entry(offset, oid);
    } catch (error) {
      throw this.#explainLoad(error, oid);
    }
  }

  #entry(offset: number, oid: Oid): Revision {
    const { end } = this;
    const number = Math.floor(offset / CHUNK);
    const at = offset - number * CHUNK;
    const room = end - BLOCK_TRAILER - ENTRY_HEAD - offset;
    if (room < 8) throw this.#damaged(offset, oid, "nothing can be there");
    let bytes: Uint8Array | undefined;
    let view: DataView | undefined;
    let from = 0;
    let length: number;
    const few = this.reader.few(offset, end);
    const isFew = few !== undefined && few.filled >= ENTRY_HEAD &&
      ENTRY_HEAD + few.view.getUint32(4) <= few.filled;
    if (isFew) {
      ({ bytes, view } = few);
      length = view.getUint32(4);
    } else if (at + ENTRY_HEAD <= CHUNK) {
      // The usual case costs nothing but looking: the entry is within a chunk.
      const chunk = this.reader.chunk(number, at + ENTRY_HEAD, end);
      if (chunk === undefined) throw this.#cut(offset, oid);
      length = chunk.view.getUint32(at + 4);
      const after = at + ENTRY_HEAD + length;
      if (
        length <= room && after <= CHUNK &&
        this.reader.chunk(number, after, end) !== undefined
      ) {
        ({ bytes, view } = chunk);
        from = at;
      }
    } else {
      const head = this.reader.bytes(offset, ENTRY_HEAD, end);
      if (head === undefined) throw this.#cut(offset, oid);
      length = viewOf(head).getUint32(4);
    }
    if (length < 12 || length > room) {
      throw this.#damaged(offset, oid, "its length cannot be right");
    }
    if (bytes === undefined || view === undefined) {
      bytes = this.reader.bytes(offset, ENTRY_HEAD + length, end);
      if (bytes === undefined) throw this.#cut(offset, oid);
      view = viewOf(bytes);
    }
    const start = from + ENTRY_HEAD;
    const crc = crc32(bytes.subarray(from + 4, start + length));
    if (view.getUint32(from) !== crc) {
      throw this.#damaged(offset, oid, "its checksum is wrong");
    }
    const previous = getUint64(view, from + 16);
    if (getUint64(view, start) !== oid || previous >= offset) {
      throw this.#damaged(offset, oid, "it is of another object");
    }
    return {
      tid: getUint64(view, from + 8),
      record: isFew
        ? bytes.slice(start, start + length)
        : bytes.subarray(start, start + length),
      previous,
    };
  }

  /** Appends a transaction: when this returns it is on the disk and visible. */
  append(
    records: ReadonlyMap<Oid, Uint8Array>,
    tid: Tid,
    next: Oid,
    notes: Uint8Array,
  ): void {
    this.#checkWritable();
    this.#checkFile();
    if (!Number.isSafeInteger(tid) || tid <= this.tid) {
      throw new StorageError(
        `Cannot commit to ${this.name}: a transaction after ${this.tid} cannot have the tid ${tid}; set the clock right`,
      );
    }
    const entries: NewRevision[] = [];
    for (const [oid, record] of records) entries.push({ oid, tid, record });
    const head = { kind: BlockKind.transaction, tid, next };
    const written = this.#write(head, entries, notes);
    if (this.#sync) {
      try {
        this.#file.sync();
      } catch (cause) {
        // Whether it is on the disk, and will stay there, nobody can say now.
        this.#break("an earlier sync to the disk failed", cause);
        this.#tryToCut();
        throw new StorageError(
          `Cannot commit to ${this.name}: syncing to the disk failed: ${
            messageOf(cause)
          }; close the storage, and open it again to see whether the transaction is stored`,
          { cause },
        );
      }
    }
    this.#take(written, entries, head);
    this.#writeIndexIfDue();
  }

  #writeIndexIfDue(): void {
    if (this.end - this.indexedTo > LEAST_BETWEEN_INDEXES) {
      // Four times the cost: index blocks take a fifth of the file at most,
      // and what must be read when opening stays in proportion to the index.
      if (this.end - this.indexedTo > 4 * this.index.cost) this.writeIndex();
    }
  }

  /** Appends entries that were copied from another journal. Nothing is synced. */
  appendCopies(entries: readonly NewRevision[], tid: Tid, next: Oid): void {
    this.#checkWritable();
    const head = { kind: BlockKind.copy, tid, next };
    this.#take(this.#write(head, entries), entries, head);
    this.endsWithCopy = true;
  }

  /**
   * Appends a transaction that another journal holds, an entry in each step,
   * whose length it yields. Nothing is synced, and nobody may use the journal
   * until the last step.
   */
  *replay(
    { tid, next, count, length }: BlockHead,
    notes: Uint8Array,
    entries: Iterable<NewRevision>,
  ): Generator<number, void> {
    this.#checkWritable();
    this.next = Math.max(this.next, next);
    const writer = new BlockWriter(this.#file, {
      kind: BlockKind.transaction,
      count,
      offset: this.end,
      length,
      tid,
      next: this.next,
      notes: notes.length,
    });
    writer.put(notes);
    for (const { oid, tid, record } of entries) {
      const previous = this.index.prepare(oid);
      this.index.set(oid, writer.putEntry(record, tid, previous));
      yield record.length;
    }
    this.end = writer.finish();
    this.tid = tid;
    this.endsWithCopy = false;
    this.#writeIndexIfDue();
  }

  /**
   * Appends an index block, so that opening the file takes less. If that fails,
   * nothing is lost: it is tried again later.
   */
  writeIndex(next = this.next): boolean {
    if (this.#broken || !this.#isOurs()) return false;
    const { index, end: offset, tid, indexOffset: previous } = this;
    let written;
    try {
      written = index.write(this.#file, { offset, tid, next, previous });
    } catch (error) {
      if (!this.#tryToCut()) this.#break("writing the index failed", error);
      return false;
    }
    try {
      // A pointer must not lead to what may not be there after a power failure.
      this.#file.sync();
    } catch (error) {
      // Nor must a transaction come after it.
      this.#break("syncing the index to the disk failed", error);
      this.#tryToCut();
      return false;
    }
    index.take(written.directory);
    this.end = written.end;
    this.next = next;
    this.indexOffset = offset;
    this.indexedTo = this.end;
    this.endsWithCopy = false;
    try {
      this.#lastPointer = 1 - this.#lastPointer;
      const pointer = encodePointer({ offset, tid });
      writeFully(this.#file, pointer, POINTERS[this.#lastPointer as 0 | 1]);
    } catch {
      // It is a hint only.
    }
    return true;
  }

  /** Does what is worth doing before the file is closed. */
  finish(next: Oid): void {
    if (this.#broken) return;
    const since = this.end - this.indexedTo;
    const worth = since >= LEAST_BEFORE_CLOSING && since >= this.index.cost;
    // What was given out and never used is not worth any price: if it is
    // forgotten, it is as if the program had ended without closing.
    const cheap = this.index.cost <= LEAST_BETWEEN_INDEXES + this.end / 4;
    if (worth || (next > this.next && cheap)) this.writeIndex(next);
    else if (!this.#sync) this.#file.sync();
  }

  /** Which pointer was written last: the next one goes to the other. */
  set lastPointer(pointer: number) {
    this.#lastPointer = pointer;
  }

  /** Allows no more commits. */
  #break(what: string, cause: unknown): void {
    this.#broken = new StorageError(
      `Cannot commit to ${this.name}: ${what}: ${
        messageOf(cause)
      }; close the storage and open it again`,
      { cause },
    );
  }

  /** Says in the header that the pack which has written the file is over. */
  packed(): void {
    this.header = { ...this.header, packing: false };
    const bytes = encodeHeader(this.header).subarray(0, HEADER_HEAD);
    try {
      writeFully(this.#file, bytes, 0);
    } catch {
      // Whoever opens the file next does it.
    }
  }

  /** Allows no more commits, since a new name for the file may not stay. */
  breakAfterRename(cause: unknown): void {
    this.#break("syncing the directory to the disk failed", cause);
  }

  /** Whether the file ends where we have ended it. */
  #isOurs(): boolean {
    try {
      return this.#file.size() === this.end;
    } catch {
      return false;
    }
  }

  /** Makes sure that nobody else has removed the file or written to it. */
  #checkFile(): void {
    let file;
    try {
      file = this.#file.look();
    } catch (error) {
      throw this.#explainCommit(error);
    }
    if (file.names === 0) {
      throw new StorageError(
        `Cannot commit to ${this.name}: the file was removed, or another one was put in its place, while it was open; nothing was stored, and all that is in it is gone once it is closed: store what is needed elsewhere before that`,
      );
    }
    if (file.size !== this.end) {
      throw new StorageError(
        `Cannot commit to ${this.name}: somebody else has written to the file or cut it while it was open, it has ${file.size} bytes and should have ${this.end}; nothing was stored, close the storage and see what dhara db verify says`,
      );
    }
  }

  #checkWritable(): void {
    if (this.#broken) {
      throw new StorageError(this.#broken.message, { cause: this.#broken });
    }
    if (this.#damage) {
      throw new DamagedFileError(
        `Cannot commit to ${this.name}: damage was found in it, and nothing was stored; see what dhara db verify says, and repair it or restore it from a backup (${this.#damage.message})`,
        { path: this.name, offset: this.#damage.offset },
        { cause: this.#damage },
      );
    }
  }

  #write(
    { kind, tid, next }: { kind: number; tid: Tid; next: Oid },
    entries: readonly NewRevision[],
    notes: Uint8Array = new Uint8Array(),
  ): { end: number; offsets: number[] } {
    let length = BLOCK_HEAD + notes.length + BLOCK_TRAILER;
    for (const { record } of entries) length += ENTRY_HEAD + record.length;
    const offsets: number[] = [];
    try {
      const writer = new BlockWriter(this.#file, {
        kind,
        count: entries.length,
        offset: this.end,
        length,
        tid,
        next,
        notes: notes.length,
      });
      writer.put(notes);
      for (const { oid, tid, record } of entries) {
        const previous = this.index.prepare(oid);
        offsets.push(
          writer.putEntry(
            record,
            tid,
            kind === BlockKind.copy ? 0 : previous,
          ),
        );
      }
      return { end: writer.finish(), offsets };
    } catch (error) {
      if (!this.#tryToCut()) {
        this.#break("what an earlier commit left could not be cut off", error);
      }
      throw this.#explainCommit(error);
    }
  }

  #take(
    { end, offsets }: { end: number; offsets: readonly number[] },
    entries: readonly NewRevision[],
    { tid, next }: { tid: Tid; next: Oid },
  ): void {
    for (let i = 0; i < entries.length; i++) {
      this.index.set(entries[i]!.oid, offsets[i]!);
    }
    this.end = end;
    this.tid = tid;
    this.next = next;
  }

  /** Cuts off what was not written to its end; returns whether that worked. */
  #tryToCut(): boolean {
    try {
      this.#file.truncate(this.end);
      return true;
    } catch {
      return false;
    }
  }

  #explainLoad(error: unknown, oid: Oid): unknown {
    const what = `Cannot load object #${oid} from ${this.name}`;
    if (error instanceof DamagedPage) return this.#damagedIndex(what, error);
    if (error instanceof DharaError) return error;
    return new StorageError(`${what}: ${messageOf(error)}`, { cause: error });
  }

  #explainCommit(error: unknown): unknown {
    const { packing = false } = this.header;
    const what = `Cannot ${packing ? "pack" : "commit to"} ${this.name}`;
    if (error instanceof DamagedPage) return this.#damagedIndex(what, error);
    if (error instanceof DharaError) return error;
    const full = /ENOSPC|EDQUOT|space left|quota/i.test(
      `${(error as { code?: string }).code} ${messageOf(error)}`,
    );
    return new StorageError(
      `${what}: ${messageOf(error)}; ${
        packing ? "the file is as it was" : "nothing was stored"
      }${
        full
          ? `, make room on the disk and ${packing ? "pack" : "commit"} again`
          : ""
      }`,
      { cause: error },
    );
  }

  #damagedIndex(what: string, { offset }: DamagedPage): DamagedFileError {
    return this.#seen(
      new DamagedFileError(
        `${what}: the index is damaged at byte ${offset}; opening it with --repair (or repair: true) makes a new one`,
        { path: this.name, offset },
      ),
    );
  }

  #damaged(offset: number, oid: Oid, why: string): DamagedFileError {
    return this.#seen(
      new DamagedFileError(
        `Cannot load object #${oid} from ${this.name}: the file is damaged at byte ${offset}: ${why}`,
        { path: this.name, offset },
      ),
    );
  }

  /** Nothing is built on damage that was seen. */
  #seen(damage: DamagedFileError): DamagedFileError {
    this.#damage ??= damage;
    return damage;
  }

  #cut(offset: number, oid: Oid): DamagedFileError {
    return this.#damaged(offset, oid, "the file ends too early");
  }
}
