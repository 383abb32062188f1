/**
 * A storage in a file.
 *
 * @module
 */
import { disk } from "./_file.ts";
import { type FileStorageOptions, JournalStorage } from "./journal_storage.ts";
import type { Repair } from "./recovery.ts";
import type { PackProgress, Session, Storage } from "./storage.ts";

export type { FileStorageOptions } from "./journal_storage.ts";
export type { Repair } from "./recovery.ts";

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
export class FileStorage implements Storage {
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

  /** Opens a session on the newest snapshot. */
  session(): Session {
    return this.#journal.session();
  }

  /**
   * Copies what can be reached from the root into a new file, `PATH.pack`,
   * and puts that in place of the old one: everything else, and all old
   * revisions, are gone. See {@linkcode Storage.pack}.
   *
   * @throws {StorageError} if another pack is under way, or the new file cannot be written.
   * @throws {ReadonlyError} if the storage is read-only.
   */
  pack(): Generator<PackProgress, void> {
    return this.#journal.pack();
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
