/**
 * Files that are there whole or not at all.
 *
 * @module
 */
import { messageOf } from "../message.ts";
import { DharaError, StorageError } from "../errors.ts";
import type { Files } from "./file.ts";

/** What SQLite adds to a file's name for the files beside it. */
const ENDINGS = ["", "-wal", "-shm", "-journal"];

/** Settings of {@linkcode makeWhole}. */
export interface WholeFileOptions {
  readonly files: Files;
  /** What is done, for messages: `Cannot restore to PATH: ...`. */
  readonly what: string;
  /** The file that it is made of: whoever may use that may use the new one, and nobody else at any time. */
  readonly like?: string | undefined;
  /** What to say of a file that is there already. */
  readonly taken?: string;
}

/**
 * Lets `make` fill a file under a name that nobody else has, and gives it its
 * own name when it is complete and on the disk. It takes the place of no other
 * file, also of none that appears meanwhile. If anything fails, nothing is left.
 *
 * @throws {StorageError} if there is a file at the path already, or it cannot be written.
 */
export async function makeWhole<T>(
  path: string,
  options: WholeFileOptions,
  make: (part: string) => T | Promise<T>,
): Promise<T> {
  const { files, what, like } = options;
  const part = `${path}.${randomDigits()}.part`;
  let ours = false;
  try {
    refuseTaken(path, options);
    files.open(part, {
      write: true,
      createNew: true,
      secret: like !== undefined,
    })
      .close();
    ours = true;
    if (like !== undefined) files.copyAccess(like, part);
    const result = await make(part);
    sync(files, part);
    refuseTaken(path, options);
    giveName(part, path, options);
    files.syncDirectory(path);
    return result;
  } catch (error) {
    if (ours) { for (const end of ENDINGS) remove(files, part + end); }
    if (error instanceof DharaError) throw error;
    const why = !ours && error instanceof Deno.errors.NotFound
      ? "the folder that it should be in is not there"
      : messageOf(error);
    throw new StorageError(`Cannot ${what} ${path}: ${why}`, { cause: error });
  }
}

function randomDigits(): string {
  return crypto.getRandomValues(new Uint32Array(1))[0]!.toString(16)
    .padStart(8, "0");
}

function refuseTaken(path: string, options: WholeFileOptions): void {
  const { files } = options;
  // SQLite would take a log that another database left for its own.
  for (const end of ENDINGS) {
    if (files.identity(path + end) === undefined) continue;
    throw isTaken(path, options, path + end);
  }
}

function isTaken(
  path: string,
  { what, taken }: WholeFileOptions,
  by: string,
): StorageError {
  const why = taken ??
    `there is a file ${by} already; remove it, or choose another name`;
  return new StorageError(`Cannot ${what} ${path}: ${why}`);
}

function sync(files: Files, path: string): void {
  const file = files.open(path, { write: true });
  try {
    file.sync();
  } finally {
    file.close();
  }
}

/** Gives a file its name, unless another one has it by now. */
function giveName(part: string, path: string, options: WholeFileOptions): void {
  const { files } = options;
  try {
    // Unlike renaming, this never takes the place of another file.
    files.link(part, path);
  } catch (error) {
    // Also a link that leads nowhere has the name.
    if (error instanceof Deno.errors.AlreadyExists) {
      throw isTaken(path, options, path);
    }
    // Not every file can have two names.
    refuseTaken(path, options);
    files.rename(part, path);
    return;
  }
  remove(files, part);
}

/** Removes what nobody needs; if that fails, it is there for nothing. */
function remove(files: Files, path: string): void {
  try {
    files.remove(path);
  } catch {
    // What has failed before says more.
  }
}
