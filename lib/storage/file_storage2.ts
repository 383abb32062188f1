/**
 * A storage in a file, with its index in memory.
 *
 * @module
 */
import { FileStorage, type FileStorageOptions } from "./file_storage.ts";

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
