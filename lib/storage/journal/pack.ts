/**
 * Packs a journal into a new file beside it. First comes what can be reached
 * at a moment, copied breadth first from the root; then every transaction that
 * was committed since, as it is. Without a history to keep, the moment is that
 * at which the pack begins.
 *
 * @module
 */
import { StorageClosedError, StorageError } from "../../errors.ts";
import {
  type Oid,
  recordReferences,
  ROOT_OID,
} from "../../serialize/record.ts";
import type { Files } from "../../files/file.ts";
import { Journal } from "./journal.ts";
import type { NewRevision } from "./revision.ts";
import { type BlockHead, BlockKind } from "./format.ts";
import { type Beside, checkPrepack, removeLeftover } from "./leftover.ts";
import {
  commitPointAt,
  entriesOf,
  JournalCursor,
  notesBytes,
  oldestMoment,
} from "./history.ts";
import { cutOff } from "../moment.ts";
import { OidQueue } from "../oid_queue.ts";
import { OidSet } from "../oid_set.ts";
import { createJournal } from "./open.ts";
import type { PackOptions, Progress, Tid } from "../storage.ts";

/** So many bytes of records share a block. */
const BLOCK = 1024 * 1024;
/** So many are written before a sync, so that no sync takes long. */
const SYNC = 16 * 1024 * 1024;
/** A step ends after so many bytes: some milliseconds. */
const STEP = 256 * 1024;
/** Looking at one more record costs as much as so many bytes. */
const LOOK = 512;
/** Looking whether an object is kept costs as much as so many bytes. */
const GLANCE = 13;

/** What a pack needs of the storage. */
export interface PackedStorage {
  readonly files: Files;
  /** The real path of the journal. */
  readonly path: string;
  /** The journal that is packed. */
  readonly journal: Journal;
  /** The first number that was never given out. */
  readonly next: Oid;
  /** The new file is in place of the old one. */
  replace(journal: Journal, removed: readonly Oid[]): void;
}

/** One pack under way. */
export class JournalPack {
  readonly #storage: PackedStorage;
  readonly #from: Journal;
  readonly #path: string;
  readonly #prepack: boolean;
  /** From here on everything is kept. */
  readonly #moment: Tid;
  /** Where the next transaction to be taken over begins. */
  #at: number;
  #to: Journal | undefined;
  /** Where objects that were changed since the pack began were then. */
  #before = new Map<Oid, number>();
  /** What is copied already, or will be. */
  #seen = new OidSet();
  #queue = new OidQueue();
  #waiting: NewRevision[] = [];
  #waitingBytes = 0;
  #unsynced = 0;
  #spent = 0;
  /** From here on there is what was committed since the pack began. */
  readonly #lateFrom: number;
  #catchingUp = false;
  /** How much of the block at `#at` is done. */
  #inBlock = 0;
  /** How much was left after the last step. */
  #backlog = Infinity;
  /** How many times longer steps have become. */
  #longer = 1;
  #records = 0;
  #bytes = 0;

  /** Makes the new file, in place of one that an interrupted pack left. */
  constructor(storage: PackedStorage, { keep, prepack }: PackOptions) {
    this.#storage = storage;
    const from = this.#from = storage.journal;
    this.#path = `${storage.path}.pack`;
    this.#prepack = prepack ?? false;
    const { tid, end } = commitPointAt(
      from,
      keep === undefined
        ? from.tid
        : Math.max(cutOff(keep), oldestMoment(from)),
    );
    this.#moment = tid;
    this.#at = end;
    this.#lateFrom = from.end;
    const { files } = storage;
    removeLeftover(files, this.#beside(this.#path));
    if (this.#prepack) {
      // Better to know before.
      const old = this.#beside(`${storage.path}.prepack`);
      checkPrepack(files, old, { remove: false });
    }
    const file = files.open(this.#path, { write: true, createNew: true });
    const { name, header } = from;
    const packs = header.packs + 1;
    const to = this.#to = new Journal(
      file,
      name,
      { ...header, packs, packing: true },
      from,
    );
    to.tid = tid;
    to.next = storage.next;
    try {
      if (!file.lock()) {
        throw new StorageError(
          `Cannot pack ${name}: somebody else has ${this.#path} open`,
        );
      }
      files.copyAccess(storage.path, this.#path);
      createJournal(files, file, this.#path, to.header);
    } catch (error) {
      this.giveUp();
      throw error;
    }
  }

  /** Notes that an object is about to be changed. */
  changing(oid: Oid): void {
    // Their revisions may become many: better not to go through all of them.
    if (this.#to === undefined || this.#before.has(oid)) return;
    this.#before.set(oid, this.#from.offsetOf(oid));
  }

  /** Does all of it, in steps. */
  *run(): Generator<Progress, void> {
    this.#mark(ROOT_OID);
    yield* this.#copyMarked();
    this.#seal();
    yield this.#progress();
    this.#catchingUp = true;
    yield* this.#catchUp();

    const unseen: Oid[] = [];
    for (const oid of this.#from.index.oids()) {
      if (!this.#seen.has(oid)) unseen.push(oid);
      if (this.#isDue(GLANCE)) yield this.#progress();
    }

    // So that little is left for the last step.
    yield* this.#catchUp();
    this.#journal().file.sync();
    yield this.#progress();
    // What somebody has written and not flushed would be lost with the old file.
    do {
      yield* this.#catchUp();
      this.#from.flush();
    } while (this.#at < this.#from.end);
    // Nothing can be committed from here on, as nothing is yielded.
    this.#finish(unseen.filter((oid) => !this.#seen.has(oid)));
    yield this.#progress();
  }

  /** Removes the new file, unless it has taken the old one's place. */
  giveUp(): void {
    const to = this.#to;
    if (to === undefined) return;
    this.#to = undefined;
    const { files } = this.#storage;
    try {
      // It may be somebody else's by now.
      if (files.identity(this.#path) === to.file.identity) {
        files.remove(this.#path);
      }
    } catch {
      // The next pack tries again.
    }
    to.release();
  }

  #beside(path: string): Beside {
    return { path, name: this.#from.name, header: this.#from.header };
  }

  #mark(oid: Oid): void {
    if (this.#seen.add(oid)) this.#queue.push(oid);
  }

  /** Copies what objects were at the moment, and all that they lead to. */
  *#copyMarked(): Generator<Progress, void> {
    const from = this.#from;
    for (;;) {
      const oid = this.#queue.shift();
      if (oid === undefined) break;
      // A reference may lead nowhere, as it did before.
      let offset = this.#before.get(oid) ?? from.offsetOf(oid);
      while (offset !== 0) {
        const { tid, record, previous } = from.entry(offset, oid);
        offset = tid > this.#moment ? previous : 0;
        if (tid <= this.#moment) this.#copy(oid, tid, record);
        if (this.#isDue(LOOK + record.length)) yield this.#progress();
      }
    }
    this.#flush();
  }

  #copy(oid: Oid, tid: Tid, record: Uint8Array): void {
    for (const reference of recordReferences(record)) this.#mark(reference);
    // A copy, since a small record would keep a whole piece of the file in memory.
    this.#waiting.push({ oid, tid, record: record.slice() });
    this.#waitingBytes += record.length;
    this.#records++;
    this.#bytes += record.length;
    if (this.#waitingBytes >= BLOCK) this.#flush();
  }

  /** Takes over what was committed since. */
  *#catchUp(): Generator<Progress, void> {
    const cursor = new JournalCursor(this.#from, this.#at);
    for (const head of cursor.forward()) {
      if (head.kind === BlockKind.transaction) yield* this.#takeOver(head);
      this.#at = cursor.at;
      this.#inBlock = 0;
      if (this.#isDue(LOOK)) yield this.#progress();
    }
  }

  *#takeOver(head: BlockHead): Generator<Progress, void> {
    const from = this.#from;
    // What it may need of what was there before, and nothing led to until now;
    // also what its own objects were before, so that it can be undone.
    for (const { oid, record } of entriesOf(from, head)) {
      this.#mark(oid);
      for (const reference of recordReferences(record)) this.#mark(reference);
      if (this.#isDue(LOOK + record.length)) yield this.#progress();
    }
    yield* this.#copyMarked();
    const to = this.#journal();
    if (to.endsWithCopy) this.#seal();
    const entries = entriesOf(from, head);
    for (const size of to.replay(head, notesBytes(from, head), entries)) {
      this.#records++;
      this.#bytes += size;
      if (this.#isDue(LOOK + size)) {
        yield this.#progress();
        // It may have been given up.
        this.#journal();
      }
    }
    this.#wrote(head.length);
  }

  /** Puts the new file in place of the old one. */
  #finish(removed: readonly Oid[]): void {
    const to = this.#journal();
    const { files, path } = this.#storage;
    to.file.sync();
    if (files.identity(path) !== this.#from.file.identity) {
      throw new StorageError(
        `Cannot pack ${this.#from.name}: somebody has put another file in its place`,
      );
    }
    if (files.identity(this.#path) !== to.file.identity) {
      throw new StorageError(
        `Cannot pack ${this.#from.name}: somebody has removed ${this.#path} meanwhile, or put another file in its place`,
      );
    }
    const old = `${path}.prepack`;
    if (this.#prepack) {
      // A second name, so that there is a file of the first one at any moment.
      checkPrepack(files, this.#beside(old), { remove: true });
      files.link(path, old);
    }
    try {
      // If the directory cannot be synced, better to know before.
      files.syncDirectory(path);
      files.rename(this.#path, path);
    } catch (error) {
      if (this.#prepack) files.remove(old);
      throw error;
    }
    this.#to = undefined;
    try {
      files.syncDirectory(path);
    } catch (error) {
      to.breakAfterRename(error);
    }
    to.packed();
    // Whoever opens the old file under another name may write to it.
    this.#from.file.unlock();
    this.#storage.replace(to, removed);
  }

  #journal(): Journal {
    if (this.#to !== undefined) return this.#to;
    throw new StorageClosedError(
      `Cannot pack ${this.#from.name}: the storage was closed`,
    );
  }

  /** Writes the index, without which copies are nothing. */
  #seal(): void {
    if (this.#journal().writeIndex()) return;
    throw new StorageError(
      `Cannot pack ${this.#from.name}: the index of ${this.#path} cannot be written; make room on the disk and try again`,
    );
  }

  #flush(): void {
    const entries = this.#waiting;
    if (entries.length === 0) return;
    this.#waiting = [];
    const to = this.#journal();
    to.appendCopies(entries, to.tid, to.next);
    this.#wrote(this.#waitingBytes);
    this.#waitingBytes = 0;
  }

  #wrote(bytes: number): void {
    this.#unsynced += bytes;
    if (this.#unsynced < SYNC) return;
    this.#unsynced = 0;
    this.#journal().file.sync();
  }

  #isDue(spent: number): boolean {
    this.#spent += spent;
    // A block is looked at twice.
    this.#inBlock += spent / 2;
    if (this.#spent < STEP * this.#longer) return false;
    this.#spent = 0;
    if (this.#catchingUp && this.#at >= this.#lateFrom) {
      // When commits bring more than a step does, only longer steps come to an end.
      const left = this.#from.end - this.#at - this.#inBlock;
      if (left >= this.#backlog) this.#longer *= 2;
      this.#backlog = left;
    }
    return true;
  }

  #progress(): Progress {
    return { records: this.#records, bytes: this.#bytes };
  }
}
