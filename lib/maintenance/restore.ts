/**
 * A database as it was at a moment, in a new file.
 *
 * @module
 */
import { messageOf } from "../message.ts";
import { DamagedFileError, StorageError } from "../errors.ts";
import { disk, type Files, type OpenFile, writeFully } from "../files/file.ts";
import {
  type CommitPoint,
  commitPoints,
  notesAt,
  pieces,
} from "../storage/journal/commit_points.ts";
import {
  clearPointers,
  readHeader,
  renewIdentity,
} from "../storage/journal/header.ts";

import { openOn } from "../storage/file_storage.ts";
import { describeTid, tidOf, timeOf } from "../storage/moment.ts";
import type { Tid, TransactionInfo } from "../storage/storage.ts";
import { verifyOn } from "./verify.ts";
import { makeWhole } from "../files/whole_file.ts";

/** Settings of {@linkcode restore}. */
export interface RestoreOptions {
  /**
   * The moment: a transaction's number, or a time. What counts is the newest
   * transaction that is not later. The newest one of all if it is left out.
   */
  readonly at?: Tid | Date | undefined;
  /** The file to write; there must be none. */
  readonly to: string;
}

/** What {@linkcode restore} has written. */
export interface Restored {
  /** The new file, as it was given. */
  readonly path: string;
  /** Its last transaction. */
  readonly tid: Tid;
  /** When that was made. */
  readonly time: Date;
  /** How many bytes the file has. */
  readonly size: number;
}

/** One transaction that a file can be restored to. */
export interface RestorePoint extends TransactionInfo {
  /** Whether it is what a pack has made of all transactions up to it. */
  readonly packed: boolean;
}

/**
 * Writes a new file that holds a database as it was at a moment, with its
 * history up to then. The database may be in use meanwhile. The new file is
 * verified, and has its name only when it is complete.
 *
 * @throws {StorageError} if there is a file already, or nothing was stored yet at that moment.
 * @throws {DamagedFileError} if what would be restored is damaged.
 *
 * @example
 * ```ts
 * import { Connection, restore, restorePoints } from "@dhara/dhara";
 * import { assertEquals } from "@std/assert";
 *
 * const directory = Deno.makeTempDirSync();
 * using connection = new Connection(`${directory}/bank.dhara`);
 * connection.root["ada"] = 10;
 * connection.commit();
 * const { tid } = [...restorePoints(`${directory}/bank.dhara`)].at(-1)!;
 * connection.root["ada"] = 0;
 * connection.commit();
 *
 * await restore(`${directory}/bank.dhara`, {
 *   at: tid,
 *   to: `${directory}/before.dhara`,
 * });
 * {
 *   using earlier = new Connection(`${directory}/before.dhara`);
 *   assertEquals(earlier.root["ada"], 10);
 * }
 * ```
 */
export async function restore(
  from: string,
  options: RestoreOptions,
): Promise<Restored> {
  return await restoreOn(disk, from, options);
}

/** Does what `restore` does, on any file system. */
export async function restoreOn(
  files: Files,
  from: string,
  { at, to }: RestoreOptions,
): Promise<Restored> {
  const file = openForReading(files, from, "restore");
  try {
    const { end } = findCommitPoint(file, from, at);
    return await writeRestored(files, { from, to, like: from }, (part) => {
      let offset = 0;
      for (const bytes of pieces(file, 0, end, from)) {
        writeFully(part, bytes, offset);
        offset += bytes.length;
      }
    });
  } finally {
    file.close();
  }
}

/**
 * Goes through the transactions that a file can be restored to, the oldest
 * first. What a pack has merged is one.
 *
 * @throws {StorageError} if it cannot be read.
 */
export function* restorePoints(
  path: string,
): Generator<RestorePoint, void> {
  const file = openForReading(disk, path, "read");
  try {
    if (readHeader(file, path) === undefined) return;
    for (const point of commitPoints(file, path)) {
      const { tid, records, bytes, packed } = point;
      const notes = packed ? {} : notesAt(file, point);
      yield { tid, time: timeOf(tid), records, bytes, packed, ...notes };
    }
  } finally {
    file.close();
  }
}

/** Opens a file that is there, and says what it was for if that fails. */
export function openForReading(
  files: Files,
  path: string,
  what: string,
): OpenFile {
  try {
    return files.open(path, { write: false });
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound
      ? "there is no such file"
      : messageOf(error);
    throw new StorageError(`Cannot ${what} ${path}: ${why}`, { cause: error });
  }
}

/** Returns the last tid of a moment, that of all moments if there is none. */
export function lastTid(at: Tid | Date | undefined): Tid {
  return at === undefined ? Number.MAX_SAFE_INTEGER : tidOf(at);
}

/** Returns the newest commit point that is not after a moment. */
export function findCommitPoint(
  file: OpenFile,
  path: string,
  at: Tid | Date | undefined,
): CommitPoint {
  const limit = lastTid(at);
  let found: CommitPoint | undefined;
  if (readHeader(file, path) !== undefined) {
    for (const point of commitPoints(file, path)) {
      if (point.tid > limit) {
        if (found !== undefined) break;
        throw new StorageError(
          `Cannot restore ${path} as of ${
            describeTid(limit)
          }: the oldest state in it is of ${describeTid(point.tid)}${
            point.packed ? ", when it was packed; a backup may have more" : ""
          }`,
        );
      }
      found = point;
    }
  }
  if (found !== undefined) return found;
  throw new StorageError(
    `Cannot restore ${path}: nothing was ever stored in it`,
  );
}

/**
 * Writes a new file through `fill`, which gives it the beginning of a journal,
 * makes a good database of it, verifies it, and gives it its name.
 */
export async function writeRestored(
  files: Files,
  { from, to, like }: { from: string; to: string; like: string },
  fill: (part: OpenFile) => void | Promise<void>,
): Promise<Restored> {
  return await makeWhole(to, {
    files,
    what: "restore to",
    like,
    taken: "there is a file of that name; give another name, or move it away",
  }, async (path) => {
    const part = files.open(path, { write: true });
    try {
      await fill(part);
      clearPointers(part);
      // What a number meant after the moment, it will not mean here.
      renewIdentity(part, from);
      part.sync();
    } finally {
      part.close();
    }
    const failure = await finish(files, path);
    if (failure !== undefined) {
      throw new DamagedFileError(
        `Cannot restore ${from}: it is damaged at byte ${failure.offset}: ${failure.message}; restore an earlier moment, or another backup`,
        { path: from, offset: failure.offset },
      );
    }
    const { tid, size } = describe(files, path);
    return { path: to, tid, time: timeOf(tid), size };
  });
}

/** Makes a good database of the beginning of a journal; returns what is damaged. */
async function finish(
  files: Files,
  path: string,
): Promise<{ offset: number; message: string } | undefined> {
  const { damage } = await verifyOn(files, path);
  if (damage.length > 0) return damage[0];
  // Its pointers are gone, so this reads it all, and writes an index if that is worth it.
  openOn(files, path, { create: false }).close();
  return (await verifyOn(files, path)).damage[0];
}

function describe(files: Files, path: string): { tid: Tid; size: number } {
  using storage = openOn(files, path, { readonly: true });
  using session = storage.session();
  const file = files.open(path, { write: false });
  try {
    return { tid: session.tid, size: file.size() };
  } finally {
    file.close();
  }
}
