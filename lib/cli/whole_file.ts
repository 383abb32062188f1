/**
 * Files that are there whole or not at all.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { StorageError } from "../errors.ts";
import { disk } from "../storage/_file.ts";

/** What SQLite adds to a file's name for the files beside it. */
const ENDINGS = ["", "-wal", "-shm", "-journal"];

/**
 * Lets `make` make `PATH.part`, and gives it the name when it is complete. A
 * `.part` file that an interrupted command left is replaced.
 *
 * @throws {StorageError} if there is a file at the path already.
 */
export async function makeWhole<T>(
  path: string,
  make: (part: string) => Promise<T>,
): Promise<T> {
  const part = `${path}.part`;
  const remove = () => {
    for (const end of ENDINGS) disk.remove(part + end);
  };
  const checkFree = () => {
    // SQLite would take a log that another database left for its own.
    for (const end of ENDINGS) {
      if (!existsSync(path + end)) continue;
      throw new StorageError(
        `Cannot write ${path}: there is a file ${
          path + end
        } already; remove it, or choose another name`,
      );
    }
  };
  checkFree();
  remove();
  try {
    const result = await make(part);
    using file = Deno.openSync(part, { read: true, write: true });
    file.syncSync();
    checkFree();
    disk.rename(part, path);
    disk.syncDirectory(path);
    return result;
  } catch (error) {
    remove();
    throw error;
  }
}
