/**
 * The storages in a file, which is a journal: the same one with its index read
 * as it is needed, or in memory.
 *
 * @module
 */
import { messageOf } from "../message.ts";
import {
  DharaError,
  ObjectNotFoundError,
  ReadonlyError,
  StorageError,
  StorageLockedError,
} from "../errors.ts";
import { isOid, type Oid, type Records } from "../serialize/record.ts";
import { disk, type Files, type OpenFile } from "../files/file.ts";
import { describeHolder } from "../files/lock.ts";
import type { Journal } from "./journal/journal.ts";
import type { Repair } from "./journal/repair.ts";
import { identityIn } from "./journal/format.ts";
import {
  changesSince,
  commitPointAt,
  hadTransaction,
  revisionsOf,
  transactionsOf,
} from "./journal/history.ts";
import { JournalPack } from "./journal/pack.ts";
import { type Backend, Sessions, type Snapshot } from "./snapshots.ts";
import { recordsBefore } from "./journal/undo.ts";
import { encodeNotes, type Notes } from "./notes.ts";
import { cutOff, nextTid, tidOf } from "./moment.ts";
import { packToEnd } from "./pack.ts";
import { openJournal } from "./journal/open.ts";
import type {
  CommitNews,
  CommitOptions,
  HistoricalStorage,
  PackOptions,
  Progress,
  RevisionInfo,
  Session,
  SessionOptions,
  StorageFeatures,
  Tid,
  TransactionInfo,
} from "./storage.ts";

export type { Repair } from "./journal/repair.ts";

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

/** The option by which {@linkcode openOn} hands on its file system. */
const FILES = Symbol("files");

interface InternalOptions extends FileStorageOptions {
  readonly [FILES]?: Files;
}

/** How often to look again if the file is replaced just while it is opened. */
const ATTEMPTS = 20;

/**
 * A storage in a file, a journal that is only appended to. Its index is read
 * when it is needed. One process at a time can write to a file; any number can
 * read it with `readonly`, and see it as it was when they opened it.
 *
 * @example
 * ```ts
 * import { Connection, FileStorage } from "@dhara/dhara";
 * import { assertEquals } from "@std/assert";
 *
 * const directory = Deno.makeTempDirSync();
 * {
 *   using storage = new FileStorage(`${directory}/example.dhara`);
 *   using connection = new Connection(storage);
 *   connection.root["hello"] = "world";
 *   connection.commit();
 * }
 * {
 *   using storage = new FileStorage(`${directory}/example.dhara`);
 *   using connection = new Connection(storage);
 *   assertEquals(connection.root["hello"], "world");
 * }
 * Deno.removeSync(directory, { recursive: true });
 * ```
 */
export class FileStorage implements HistoricalStorage {
  /** What it can do: everything. */
  readonly features: StorageFeatures = {
    notes: true,
    past: true,
    history: true,
    keep: true,
    prepack: true,
  };
  /** The file, as it was given. */
  readonly path: string;
  /** Whether it was opened for reading only. */
  readonly readonly: boolean;
  /** What opening it with `repair` has changed in the file; empty if nothing was wrong. */
  readonly repairs: readonly Repair[];
  readonly #files: Files;
  readonly #realPath: string;
  #journal: Journal;
  #sessions: Sessions;
  #pack: JournalPack | undefined;
  #closed = false;

  /**
   * Opens a file, and makes it if there is none. A transaction at its end that
   * was not written completely, and so never confirmed, is cut off.
   *
   * @throws {StorageLockedError} if somebody has it open for writing.
   * @throws {DamagedFileError} if it is damaged; `repair` helps.
   * @throws {StorageError} if it is not a journal, or cannot be opened.
   */
  constructor(path: string, options: FileStorageOptions = {}) {
    const files = (options as InternalOptions)[FILES] ?? disk;
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

  /** Tells this database from others. See {@linkcode Storage.identity}. */
  get identity(): string {
    return identityIn(this.#journal.header);
  }

  /** Whether there was such a transaction. See {@linkcode Storage.knows}. */
  knows(tid: Tid): boolean {
    this.#sessions.checkOpen();
    return hadTransaction(this.#journal, tid);
  }

  /** How many bytes the file has. */
  get size(): number {
    return this.#journal.end;
  }

  /**
   * Opens a session on the newest snapshot, or a read-only one on a moment of
   * the past.
   *
   * @throws {StorageError} if a pack has dropped what was there then; the
   * message names the oldest moment that can be read.
   */
  session(options?: SessionOptions): Session {
    return this.#sessions.open(options);
  }

  /** Calls `listener` after each commit. See {@linkcode Storage.onCommit}. */
  onCommit(listener: (news: CommitNews) => void): () => void {
    this.#sessions.checkOpen();
    return this.#sessions.listeners.add(listener);
  }

  /**
   * Goes through the revisions of an object that are still there, the newest
   * first. It needs little memory however many there are.
   *
   * @throws {ObjectNotFoundError} if there is no such object.
   *
   * @example
   * ```ts
   * import { Connection, FileStorage } from "@dhara/dhara";
   * import { assertEquals } from "@std/assert";
   *
   * const path = Deno.makeTempDirSync() + "/example.dhara";
   * using storage = new FileStorage(path);
   * using connection = new Connection(storage);
   * connection.root["price"] = 10;
   * connection.commit({ note: "as agreed", user: "ada" });
   * const [newest] = storage.history(0);
   * assertEquals(newest?.tid, connection.tid);
   * assertEquals(newest?.note, "as agreed");
   * ```
   */
  *history(oid: Oid): Generator<RevisionInfo, void> {
    if (!isOid(oid) || !this.#journal.holds(oid)) {
      throw new ObjectNotFoundError(oid);
    }
    yield* this.#read((journal) => revisionsOf(journal, oid));
  }

  /**
   * Goes through the transactions that are still there, the newest first. It
   * needs little memory however many there are.
   */
  *transactions(): Generator<TransactionInfo, void> {
    yield* this.#read(transactionsOf);
  }

  /**
   * Goes through the transactions after a moment, the oldest first. It needs
   * little memory however many there are.
   *
   * @throws {StorageError} if a pack has dropped what was there at that moment.
   *
   * @example
   * ```ts
   * import { Connection, FileStorage } from "@dhara/dhara";
   * import { assertEquals } from "@std/assert";
   *
   * const path = Deno.makeTempDirSync() + "/example.dhara";
   * using storage = new FileStorage(path);
   * using connection = new Connection(storage);
   * const { tid } = connection;
   * connection.root["price"] = 10;
   * connection.commit({ note: "as agreed" });
   * const changes = [...storage.changes(tid)];
   * assertEquals(changes, [
   *   { tid: connection.tid, oids: [0], note: "as agreed" },
   * ]);
   * ```
   */
  *changes(since: Tid): Generator<CommitNews, void> {
    const moment = tidOf(since);
    yield* this.#read((journal) => changesSince(journal, moment));
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

  /**
   * Stores what the objects of a transaction were before it, as a new
   * transaction, and returns that one's tid. Open sessions learn of it as of
   * any other commit. An object that the transaction has made stays as it is,
   * though nothing may refer to it any more. A later change stands in the way,
   * unless it has been taken back too.
   *
   * @throws {UndoError} if a later transaction has changed one of the objects.
   * @throws {StorageError} if there is no such transaction, a pack has dropped
   * what was before it, or it has only made new objects.
   * @throws {ReadonlyError} if the storage is read-only.
   *
   * @example
   * ```ts
   * import { Connection, FileStorage } from "@dhara/dhara";
   * import { assertEquals } from "@std/assert";
   *
   * const path = Deno.makeTempDirSync() + "/example.dhara";
   * using storage = new FileStorage(path);
   * using connection = new Connection(storage);
   * connection.root["price"] = 10;
   * connection.commit();
   * connection.root["price"] = 99;
   * connection.commit();
   * storage.undo(connection.tid, { note: "99 was a mistake" });
   * connection.abort();
   * assertEquals(connection.root["price"], 10);
   * ```
   */
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
   * Copies what is kept into a new file, `PATH.pack`, and puts that in place of
   * the old one. What is kept: what can be reached from the root at the moment
   * `keep`, or now, and all transactions since then with their notes. So every
   * moment since then can still be read completely; everything else is gone.
   * A moment before what an earlier pack has kept keeps all that is left.
   *
   * @throws {StorageError} if another pack is under way, the new file cannot be
   * written, or a file is in the way that is not the storage's own.
   * @throws {ReadonlyError} if the storage is read-only.
   *
   * @example
   * ```ts
   * import { FileStorage } from "@dhara/dhara";
   *
   * const path = Deno.makeTempDirSync() + "/example.dhara";
   * using storage = new FileStorage(path);
   * storage.pack({ keep: "7d", prepack: true });
   * ```
   */
  pack(options?: PackOptions): Progress {
    return packToEnd(this.packInSteps(options));
  }

  /**
   * Does what `pack()` does, in steps between which others may commit and
   * load, and only if it is iterated to the end.
   *
   * @throws {StorageError} if another pack is under way at the first step, or
   * the new file cannot be written.
   * @throws {ReadonlyError} if the storage is read-only.
   *
   * @example
   * ```ts
   * import { FileStorage } from "@dhara/dhara";
   *
   * const path = Deno.makeTempDirSync() + "/example.dhara";
   * using storage = new FileStorage(path);
   * for (const { records } of storage.packInSteps({ keep: "7d" })) {
   *   console.log(`${records} records`);
   *   await new Promise((resolve) => setTimeout(resolve, 0));
   * }
   * ```
   */
  packInSteps(
    { keep, ...options }: PackOptions = {},
  ): Generator<Progress, void> {
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

  *#steps(options: PackOptions): Generator<Progress, void> {
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
        `Cannot pack ${this.path}: ${messageOf(error)}; the file is as it was`,
        { cause: error },
      );
    } finally {
      this.#pack?.giveUp();
      this.#pack = undefined;
    }
  }

  /**
   * Closes the storage and every session on it, and gives the file's lock
   * back. Closing twice is fine.
   *
   * @throws {StorageError} if what was committed without `sync` cannot be brought to the disk.
   */
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
          messageOf(error)
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
      tid: () => this.#journal.tid,
      snapshot: () => new JournalSnapshot(this.#journal),
      snapshotAt: (moment) =>
        new JournalSnapshot(
          this.#journal,
          commitPointAt(this.#journal, moment).tid,
        ),
      holds: (oid) => this.#journal.holds(oid),
      append: (records, next, notes) => this.#append(records, next, notes),
    };
  }

  #append(records: Records, next: Oid, notes: Notes): Tid {
    for (const oid of records.keys()) this.#pack?.changing(oid);
    const tid = nextTid(this.#journal.tid);
    this.#journal.append(records, tid, next, encodeNotes(notes));
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

/**
 * A {@linkcode FileStorage} that holds its whole index in memory. The file is
 * the same, and each of the two opens what the other has written. Opening reads
 * the index once, 8 bytes for each object; after that finding a record never
 * reads the file. It is for databases whose objects are used all over, beyond
 * the million whose index pages a `FileStorage` keeps.
 *
 * @example
 * ```ts
 * import { Connection, FileStorage2 } from "@dhara/dhara";
 *
 * const path = Deno.makeTempDirSync() + "/example.dhara";
 * using storage = new FileStorage2(path);
 * using connection = new Connection(storage);
 * connection.root["hello"] = "world";
 * connection.commit();
 * ```
 */
export class FileStorage2 extends FileStorage {
  /**
   * Opens a file, as a `FileStorage` does.
   *
   * @throws {StorageLockedError} if somebody has it open for writing.
   * @throws {DamagedFileError} if it is damaged; `repair` helps.
   * @throws {StorageError} if it is not a journal, or cannot be opened.
   */
  constructor(
    path: string,
    options: Omit<FileStorageOptions, "indexInMemory"> = {},
  ) {
    super(path, { ...options, indexInMemory: true });
  }
}

/**
 * Opens a journal of another file system than the machine's: for tests, and to
 * see each operation of a copy that is being made.
 */
export function openOn(
  files: Files,
  path: string,
  options: FileStorageOptions = {},
): FileStorage {
  const internal: InternalOptions = { ...options, [FILES]: files };
  return new FileStorage(path, internal);
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
    ? messageOf(error)
    : create
    ? "the folder that it should be in is not there"
    : "there is no such file";
  return new StorageError(`Cannot open ${path}: ${why}`, { cause: error });
}
