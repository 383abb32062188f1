/**
 * A storage in a file.
 *
 * @module
 */
import { disk } from "../files/file.ts";
import { type FileStorageOptions, JournalStorage } from "./journal_storage.ts";
import type { Repair } from "./journal/recovery.ts";
import type { Oid } from "../serialize/record.ts";
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

export type { FileStorageOptions } from "./journal_storage.ts";
export type { Repair } from "./journal/recovery.ts";

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
  readonly #journal: JournalStorage;

  /**
   * Opens a file, and makes it if there is none. A transaction at its end that
   * was not written completely, and so never confirmed, is cut off.
   *
   * @throws {StorageLockedError} if somebody has it open for writing.
   * @throws {DamagedFileError} if it is damaged; `repair` helps.
   * @throws {StorageError} if it is not a journal, or cannot be opened.
   */
  constructor(path: string, options: FileStorageOptions = {}) {
    this.#journal = new JournalStorage(path, options, disk);
  }

  /** The file, as it was given. */
  get path(): string {
    return this.#journal.path;
  }

  /** Whether it was opened for reading only. */
  get readonly(): boolean {
    return this.#journal.readonly;
  }

  /** What opening it with `repair` has changed in the file; empty if nothing was wrong. */
  get repairs(): readonly Repair[] {
    return this.#journal.repairs;
  }

  /** How many bytes the file has. */
  get size(): number {
    return this.#journal.size;
  }

  /**
   * Opens a session on the newest snapshot, or a read-only one on a moment of
   * the past.
   *
   * @throws {StorageError} if a pack has dropped what was there then; the
   * message names the oldest moment that can be read.
   */
  session(options?: SessionOptions): Session {
    return this.#journal.session(options);
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
  history(oid: Oid): Generator<RevisionInfo, void> {
    return this.#journal.history(oid);
  }

  /**
   * Goes through the transactions that are still there, the newest first. It
   * needs little memory however many there are.
   */
  transactions(): Generator<TransactionInfo, void> {
    return this.#journal.transactions();
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
  undo(tid: Tid, options?: CommitOptions): Tid {
    return this.#journal.undo(tid, options);
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
  pack(options?: PackOptions): PackProgress {
    return this.#journal.pack(options);
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
  packInSteps(options?: PackOptions): Generator<PackProgress, void> {
    return this.#journal.packInSteps(options);
  }

  /**
   * Closes the storage and every session on it, and gives the file's lock
   * back. Closing twice is fine.
   *
   * @throws {StorageError} if what was committed without `sync` cannot be brought to the disk.
   */
  close(): void {
    this.#journal.close();
  }

  /** Closes the storage, as `close()` does. */
  [Symbol.dispose](): void {
    this.close();
  }
}
