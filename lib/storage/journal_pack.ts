/**
 * Packs a journal into a new file beside it.
 *
 * @module
 */
import { StorageClosedError, StorageError } from "../errors.ts";
import type { Oid } from "../serialize/record.ts";
import type { Files } from "./_file.ts";
import { Journal, type NewEntry } from "./journal.ts";
import type { PackWork } from "./reachable.ts";
import { createJournal } from "./recovery.ts";

/** So many bytes of records share a block. */
const BLOCK = 1024 * 1024;
/** So many are written before a sync, so that no sync takes long. */
const SYNC = 16 * 1024 * 1024;

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
export class JournalPack implements PackWork {
  readonly changed = new Set<Oid>();
  readonly #storage: PackedStorage;
  readonly #from: Journal;
  readonly #path: string;
  #to: Journal | undefined;
  #waiting: NewEntry[] = [];
  #bytes = 0;
  #unsynced = 0;
  #indexedTid = -1;

  /** Makes the new file, in place of one that an interrupted pack left. */
  constructor(storage: PackedStorage) {
    this.#storage = storage;
    this.#from = storage.journal;
    this.#path = `${storage.path}.pack`;
    const { files } = storage;
    files.remove(this.#path);
    const file = files.open(this.#path, { write: true, createNew: true });
    const { name, header, sync } = this.#from;
    const packs = header.packs + 1;
    this.#to = new Journal(file, name, { ...header, packs }, { sync });
    try {
      if (!file.lock()) {
        throw new StorageError(
          `Cannot pack ${name}: somebody else has ${this.#path} open`,
        );
      }
      files.copyAccess(storage.path, this.#path);
      createJournal(files, file, this.#path, this.#to.header);
    } catch (error) {
      this.giveUp();
      throw error;
    }
  }

  /** Copies the newest record of an object. */
  copy(oid: Oid): Uint8Array | undefined {
    this.#journal();
    const offset = this.#from.offsetOf(oid);
    if (offset === 0) return undefined;
    const { tid, record } = this.#from.entry(offset, oid);
    this.#waiting.push({ oid, tid, record });
    this.#bytes += record.length;
    if (this.#bytes >= BLOCK) this.#flush();
    return record;
  }

  /** Goes through the numbers of all objects. */
  oids(): Iterable<Oid> {
    return this.#from.index.oids();
  }

  /** Writes the index, most of it for good. */
  *prepare(): Generator<void> {
    this.#flush();
    yield;
    this.#writeIndex();
    yield;
  }

  /** Puts the new file in place of the old one. */
  finish(removed: readonly Oid[]): void {
    const to = this.#journal();
    const { files, path } = this.#storage;
    if (this.#waiting.length > 0) this.#flush();
    this.#writeIndex();
    if (files.identity(path) !== this.#from.file.identity) {
      throw new StorageError(
        `Cannot pack ${this.#from.name}: somebody has put another file in its place`,
      );
    }
    // If the directory cannot be synced, better to know before.
    files.syncDirectory(path);
    files.rename(this.#path, path);
    this.#to = undefined;
    try {
      files.syncDirectory(path);
    } catch (error) {
      to.breakAfterRename(error);
    }
    this.#storage.replace(to, removed);
  }

  /** Removes the new file, unless it has taken the old one's place. */
  giveUp(): void {
    const to = this.#to;
    if (to === undefined) return;
    this.#to = undefined;
    to.release();
    try {
      this.#storage.files.remove(this.#path);
    } catch {
      // The next pack tries again.
    }
  }

  #journal(): Journal {
    if (this.#to !== undefined) return this.#to;
    throw new StorageClosedError(
      `Cannot pack ${this.#from.name}: the storage was closed`,
    );
  }

  #writeIndex(): void {
    const to = this.#journal();
    to.tid = this.#from.tid;
    if (
      to.indexedTo === to.end && to.next === this.#storage.next &&
      this.#indexedTid === to.tid
    ) return;
    if (!to.writeIndex(this.#storage.next)) {
      throw new StorageError(
        `Cannot pack ${this.#from.name}: the index of ${this.#path} cannot be written; make room on the disk and try again`,
      );
    }
    this.#indexedTid = to.tid;
  }

  #flush(): void {
    const entries = this.#waiting;
    if (entries.length === 0) return;
    this.#waiting = [];
    const to = this.#journal();
    to.appendCopies(entries, this.#from.tid, this.#storage.next);
    this.#unsynced += this.#bytes;
    this.#bytes = 0;
    if (this.#unsynced < SYNC) return;
    this.#unsynced = 0;
    to.file.sync();
  }
}
