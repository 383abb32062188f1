/**
 * A storage in a file.
 *
 * @module
 */
import { disk } from "./_file.ts";
import { type JournalOptions, JournalStorage } from "./journal_storage.ts";

/** Settings of a {@linkcode FileStorage}. */
export interface FileStorageOptions extends JournalOptions {}

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
export class FileStorage extends JournalStorage {
  /**
   * Opens a file, and makes it if there is none. A transaction at its end that
   * was not written completely, and so never confirmed, is cut off.
   *
   * @throws {StorageLockedError} if somebody has it open for writing.
   * @throws {DamagedFileError} if it is damaged; `repair` helps.
   * @throws {StorageError} if it is not a journal, or cannot be opened.
   */
  constructor(path: string, options: FileStorageOptions = {}) {
    super(path, options, disk);
  }
}
