/**
 * What the storages in a journal file have in common.
 *
 * @module
 */
import {
  DharaError,
  ObjectNotFoundError,
  ReadonlyError,
  StorageError,
  StorageLockedError,
} from "../errors.ts";
import type { Oid } from "../serialize/record.ts";
import type { Files, OpenFile } from "../files/file.ts";
import { describeHolder } from "../files/lock.ts";
import { type Journal, text } from "./journal/journal.ts";
import { findMoment, revisionsOf, transactionsOf } from "./journal/history.ts";
import { JournalPack } from "./journal/pack.ts";
import {
  type Backend,
  nextTid,
  type Records,
  Sessions,
  type Snapshot,
} from "./session.ts";
import { recordsBefore } from "./journal/undo.ts";
import { encodeMetadata, type Notes } from "./notes.ts";
import { cutOff } from "./moment.ts";
import { packToEnd } from "./pack.ts";
import { openJournal, type Repair } from "./journal/recovery.ts";
import type {
  CommitOptions,
  HistoricalStorage,
  PackOptions,
  PackProgress,
  RevisionInfo,
  Session,
  SessionOptions,
  Tid,
  TransactionInfo,
} from "./storage.ts";

/** Settings of a {@linkcode FileStorage}. */
export interface FileStorageOptions {
  /** Open it for reading only: nothing in the file is changed, and nobody is kept from writing. */
  readonly?: boolean;
  /**
   * Whether a commit waits until it is on the disk: true by default. Without
   * it commits are much faster, a crash of the program still loses nothing,
   * but a crash of the machine may lose the last ones.
   */
  sync?: boolean;
  /** Whether to make the file if there is none: true by default. */
  create?: boolean;
  /**
   * If the file is damaged, save everything from the damage on beside it, as
   * `PATH.tail-OFFSET`, and cut it off.
   */
  repair?: boolean;
  /**
   * Whether to read the whole index when opening, and keep it in memory: 8
   * bytes for each object, as {@linkcode FileStorage2} does.
   */
  indexInMemory?: boolean;
}

/** How often to look again if the file is replaced just while it is opened. */
const ATTEMPTS = 20;

/** A storage in a journal file. */
export class JournalStorage implements HistoricalStorage {
  /** The file, as it was given. */
  readonly path: string;
  /** Whether it was opened for reading only. */
  readonly readonly: boolean;
  /** What opening it with `repair` has changed in the file. */
  readonly repairs: readonly Repair[];
  readonly #files: Files;
  readonly #realPath: string;
  #journal: Journal;
  #sessions: Sessions;
  #pack: JournalPack | undefined;
  #closed = false;

  /** Opens a file through a file system. */
  constructor(path: string, options: FileStorageOptions, files: Files) {
    const {
      readonly = false,
      sync = true,
      create = true,
      repair = false,
      indexInMemory = false,
    } = options;
    if (readonly && repair) {
      throw new StorageError(
        `Cannot open ${path}: it cannot be repaired when it is opened for reading only`,
      );
    }
    this.path = path;
    this.readonly = readonly;
    this.#files = files;
    const file = open(files, path, { readonly, create: create && !readonly });
    try {
      this.#realPath = realPath(files, path);
      this.#journal = openJournal(files, file, this.#realPath, path, {
        readonly,
        repair,
        sync,
        indexInMemory,
      });
      this.repairs = this.#journal.repairs;
      this.#sessions = new Sessions(this.#backend(), this.#journal.next);
    } catch (error) {
      file.close();
      throw explain(error, path);
    }
  }

  /** How many bytes the journal has. */
  get size(): number {
    return this.#journal.end;
  }

  /**
   * Opens a session on the newest snapshot, or on one of the past.
   *
   * @throws {StorageError} if a pack has dropped what was there then.
   */
  session(options?: SessionOptions): Session {
    return this.#sessions.open(options);
  }

  /** See {@linkcode HistoricalStorage.history}. */
  *history(oid: Oid): Generator<RevisionInfo, void> {
    if (!Number.isSafeInteger(oid) || oid < 0 || !this.#journal.holds(oid)) {
      throw new ObjectNotFoundError(oid);
    }
    yield* this.#read((journal) => revisionsOf(journal, oid));
  }

  /** See {@linkcode HistoricalStorage.transactions}. */
  *transactions(): Generator<TransactionInfo, void> {
    yield* this.#read(transactionsOf);
  }

  /** Goes through something of the journal as it is now, whatever a pack does meanwhile. */
  *#read<T>(list: (journal: Journal) => Iterable<T>): Generator<T, void> {
    // The session keeps the file open, and is closed with the storage.
    using _session = this.#sessions.open();
    for (const item of list(this.#journal)) {
      yield item;
      this.#sessions.checkOpen();
    }
  }

  /** See {@linkcode HistoricalStorage.undo}. */
  undo(tid: Tid, options: CommitOptions = {}): Tid {
    this.#sessions.checkOpen();
    if (this.readonly) {
      throw new ReadonlyError(
        `Cannot undo a transaction of ${this.path}: it was opened for reading only`,
      );
    }
    const records = recordsBefore(this.#journal, tid);
    using session = this.#sessions.open();
    session.commit(records, options);
    return session.tid;
  }

  /**
   * Copies what is kept into a new file, `PATH.pack`, and puts that in place
   * of the old one. See {@linkcode Storage.pack}.
   *
   * @throws {StorageError} if another pack is under way, or the new file cannot be written.
   * @throws {ReadonlyError} if the storage is read-only.
   */
  pack(options?: PackOptions): PackProgress {
    return packToEnd(this.packInSteps(options));
  }

  /** Does what `pack()` does, in steps. See {@linkcode Storage.packInSteps}. */
  packInSteps(
    { keep, ...options }: PackOptions = {},
  ): Generator<PackProgress, void> {
    this.#sessions.checkOpen();
    if (this.readonly) {
      throw new ReadonlyError(
        `Cannot pack ${this.path}: it was opened for reading only`,
      );
    }
    return this.#steps(
      keep === undefined ? options : { ...options, keep: cutOff(keep) },
    );
  }

  *#steps(options: PackOptions): Generator<PackProgress, void> {
    this.#sessions.checkOpen();
    if (this.#pack !== undefined) {
      throw new StorageError(
        `Cannot pack ${this.path}: another pack is under way`,
      );
    }
    try {
      this.#pack = this.#newPack(options);
      for (const progress of this.#pack.run()) {
        yield progress;
        this.#sessions.checkOpen();
      }
    } catch (error) {
      throw error instanceof DharaError ? error : new StorageError(
        `Cannot pack ${this.path}: ${text(error)}; the file is as it was`,
        { cause: error },
      );
    } finally {
      this.#pack?.giveUp();
      this.#pack = undefined;
    }
  }

  /** Closes the storage and every session on it, and gives the lock back. Closing twice is fine. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pack?.giveUp();
    this.#sessions.close();
    try {
      if (!this.readonly) this.#journal.finish(this.#sessions.next);
    } catch (error) {
      throw new StorageError(
        `Cannot close ${this.path} well: ${
          text(error)
        }; the last commits may not be on the disk`,
        { cause: error },
      );
    } finally {
      this.#journal.release();
    }
  }

  /** Closes the storage, as `close()` does. */
  [Symbol.dispose](): void {
    this.close();
  }

  #backend(): Backend {
    return {
      name: this.path,
      readonly: this.readonly,
      snapshot: () => new JournalSnapshot(this.#journal),
      snapshotAt: (moment) =>
        new JournalSnapshot(
          this.#journal,
          findMoment(this.#journal, moment).tid,
        ),
      holds: (oid) => this.#journal.holds(oid),
      append: (records, next, notes) => this.#append(records, next, notes),
    };
  }

  #append(records: Records, next: Oid, notes: Notes): Tid {
    for (const oid of records.keys()) this.#pack?.changing(oid);
    const tid = nextTid(this.#journal.tid);
    this.#journal.append(records, tid, next, encodeMetadata(notes));
    return tid;
  }

  #newPack(options: PackOptions): JournalPack {
    const journal = this.#journal;
    const sessions = this.#sessions;
    return new JournalPack({
      files: this.#files,
      path: this.#realPath,
      journal,
      next: sessions.next,
      replace: (to, removed) => {
        this.#journal = to;
        // Sessions may go on reading the old file until they move on.
        journal.release();
        sessions.packed(removed);
      },
    }, options);
  }
}

/** A journal at one moment. */
class JournalSnapshot implements Snapshot {
  readonly tid: Tid;
  readonly #journal: Journal;

  constructor(journal: Journal, tid = journal.tid) {
    this.#journal = journal;
    this.tid = tid;
    journal.retain();
  }

  load(oid: Oid): Uint8Array | undefined {
    return this.#journal.load(oid, this.tid);
  }

  has(oid: Oid): boolean {
    if (!this.#journal.holds(oid)) return false;
    return this.tid === this.#journal.tid || this.load(oid) !== undefined;
  }

  length(oid: Oid): number {
    return this.#journal.length(oid, this.tid);
  }

  release(): void {
    this.#journal.release();
  }
}

function open(
  files: Files,
  path: string,
  { readonly, create }: { readonly: boolean; create: boolean },
): OpenFile {
  if (path === "") {
    throw new StorageError("Cannot open a storage: the path is empty");
  }
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    let file: OpenFile;
    try {
      file = files.open(path, { write: !readonly, create });
    } catch (error) {
      throw explain(error, path, create);
    }
    if (readonly) return file;
    try {
      if (!file.lock()) {
        throw new StorageLockedError(
          `Cannot open ${path} for writing: ${
            describeHolder(file.identity)
          } has it open`,
        );
      }
      // Before we got the lock, a pack may have put another file there.
      if (files.identity(path) === file.identity) return file;
    } catch (error) {
      file.close();
      throw explain(error, path);
    }
    file.close();
  }
  throw new StorageError(
    `Cannot open ${path}: it is being replaced all the time`,
  );
}

function realPath(files: Files, path: string): string {
  try {
    return files.realPath(path);
  } catch {
    // Without permission to read directories there are no links to follow.
    return path;
  }
}

function explain(error: unknown, path: string, create = false): unknown {
  if (error instanceof DharaError) return error;
  const why = !(error instanceof Deno.errors.NotFound)
    ? text(error)
    : create
    ? "the folder that it should be in is not there"
    : "there is no such file";
  return new StorageError(`Cannot open ${path}: ${why}`, { cause: error });
}
