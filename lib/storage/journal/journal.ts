/**
 * One open journal file: loading and appending. `open.ts` opens it,
 * `docs/format.md` describes it.
 *
 * @module
 */
import { getUint64, viewOf } from "../../serialize/bytes.ts";
import { messageOf } from "../../message.ts";
import { StorageError } from "../../errors.ts";
import type { Oid } from "../../serialize/record.ts";
import { type OpenFile, writeFully } from "../../files/file.ts";
import { BlockWriter } from "./block_writer.ts";
import { ChunkReader } from "./chunk_reader.ts";
import {
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
import { JournalHealth } from "./health.ts";
import { JournalIndex } from "./index.ts";
import type { Repair } from "./repair.ts";
import {
  type NewRevision,
  readRevision,
  type Revision,
  writeBlock,
  type WrittenBlock,
} from "./revision.ts";
import type { Tid } from "../storage.ts";

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
  /** What has gone wrong with it. */
  readonly health: JournalHealth;
  readonly #file: OpenFile;
  readonly #sync: boolean;
  /** Whether all of the index stays in memory, once read. */
  readonly indexInMemory: boolean;
  #lastPointer = 1;
  /** What was written since the last `flush()`. */
  #unflushed: WrittenBlock[] = [];
  /** Where objects are in all but the last of it. */
  readonly #unflushedAt = new Map<Oid, number>();
  #users = 1;

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
    this.health = new JournalHealth(name);
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
      throw this.health.explainLoad(error, oid);
    }
  }

  /** Returns an object's record as of a moment, or `undefined` if there was none. */
  load(oid: Oid, tid: Tid): Uint8Array | undefined {
    try {
      let offset = this.index.get(oid);
      while (offset !== 0) {
        const entry = readRevision(this, offset, oid, this.health);
        if (entry.tid <= tid) return entry.record;
        offset = entry.previous;
      }
      return undefined;
    } catch (error) {
      throw this.health.explainLoad(error, oid);
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
      throw this.health.explainLoad(error, oid);
    }
  }

  /** Returns the entry at an offset, which must be of this object. */
  entry(offset: number, oid: Oid): Revision {
    try {
      return readRevision(this, offset, oid, this.health);
    } catch (error) {
      throw this.health.explainLoad(error, oid);
    }
  }

  /** Appends a transaction: when this returns it is on the disk and visible. */
  append(
    records: ReadonlyMap<Oid, Uint8Array>,
    tid: Tid,
    next: Oid,
    notes: Uint8Array,
  ): void {
    this.write(records, tid, next, notes);
    this.flush();
  }

  /**
   * Puts a transaction into the file, after those that were written before. It
   * is neither confirmed nor visible until `flush()`. If this fails, nothing of
   * it is left, and what was written before stays.
   */
  write(
    records: ReadonlyMap<Oid, Uint8Array>,
    tid: Tid,
    next: Oid,
    notes: Uint8Array,
  ): void {
    this.health.checkWritable();
    this.health.checkFile(this.#file, this.#writtenTo);
    const last = this.#unflushed.at(-1);
    const before = last?.head.tid ?? this.tid;
    if (!Number.isSafeInteger(tid) || tid <= before) {
      throw new StorageError(
        `Cannot commit to ${this.name}: a transaction after ${before} cannot have the tid ${tid}; set the clock right`,
      );
    }
    // Only what is written on top of others must know where they are.
    last?.revisions.forEach(({ oid }, i) => {
      this.#unflushedAt.set(oid, last.offsets[i]!);
    });
    const revisions: NewRevision[] = [];
    for (const [oid, record] of records) revisions.push({ oid, tid, record });
    const head = { kind: BlockKind.transaction, tid, next };
    this.#unflushed.push(this.#write(head, revisions, notes));
  }

  /**
   * Brings what was written to the disk and makes it visible, all at once. If
   * that fails, there are no more commits until the file is opened again.
   */
  flush(): void {
    const blocks = this.#unflushed;
    if (blocks.length === 0) return;
    this.#unflushed = [];
    if (blocks.length > 1) this.#unflushedAt.clear();
    if (this.#sync) {
      try {
        this.#file.sync();
      } catch (cause) {
        // Whether it is on the disk, and will stay there, nobody can say now.
        this.health.break("an earlier sync to the disk failed", cause);
        this.#tryToCut();
        throw new StorageError(
          `Cannot commit to ${this.name}: syncing to the disk failed: ${
            messageOf(cause)
          }; close the storage, and open it again to see whether the transaction is stored`,
          { cause },
        );
      }
    }
    for (const block of blocks) this.#take(block);
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
    this.health.checkWritable();
    const head = { kind: BlockKind.copy, tid, next };
    this.#take(this.#write(head, entries));
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
    this.health.checkWritable();
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
    if (this.health.isBroken || !this.#isOurs()) return false;
    const { index, end: offset, tid, indexOffset: previous } = this;
    let written;
    try {
      written = index.write(this.#file, { offset, tid, next, previous });
    } catch (error) {
      if (!this.#tryToCut()) {
        this.health.break("writing the index failed", error);
      }
      return false;
    }
    try {
      // A pointer must not lead to what may not be there after a power failure.
      this.#file.sync();
    } catch (error) {
      // Nor must a transaction come after it.
      this.health.break("syncing the index to the disk failed", error);
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
    this.flush();
    if (this.health.isBroken) return;
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
    this.health.break("syncing the directory to the disk failed", cause);
  }

  /** Whether the file ends where we have ended it, and nothing waits for `flush()`. */
  #isOurs(): boolean {
    try {
      return this.#file.size() === this.end;
    } catch {
      return false;
    }
  }

  /** Where the next block will be, visible or not what is before it. */
  get #writtenTo(): number {
    return this.#unflushed.at(-1)?.end ?? this.end;
  }

  #write(
    { kind, tid, next }: Pick<BlockHead, "kind" | "tid" | "next">,
    revisions: readonly NewRevision[],
    notes: Uint8Array = new Uint8Array(),
  ): WrittenBlock {
    const start = { kind, offset: this.#writtenTo, tid, next };
    try {
      return writeBlock(this.#file, start, revisions, notes, (oid) => {
        const previous = this.index.prepare(oid);
        if (kind === BlockKind.copy) return 0;
        return this.#unflushedAt.get(oid) ?? previous;
      });
    } catch (error) {
      if (!this.#tryToCut()) {
        this.health.break(
          "what an earlier commit left could not be cut off",
          error,
        );
      }
      throw this.health.explainCommit(error, this.header);
    }
  }

  /** Makes a block visible. */
  #take({ head: { tid, next }, revisions, offsets, end }: WrittenBlock): void {
    for (let i = 0; i < revisions.length; i++) {
      this.index.set(revisions[i]!.oid, offsets[i]!);
    }
    this.end = end;
    this.tid = tid;
    this.next = next;
  }

  /** Cuts off what was not written to its end; returns whether that worked. */
  #tryToCut(): boolean {
    try {
      this.#file.truncate(this.#writtenTo);
      return true;
    } catch {
      return false;
    }
  }
}
