/**
 * Restoring from the backups in a directory.
 *
 * @module
 */
import { messageOf } from "../message.ts";
import { DamagedFileError, StorageError } from "../errors.ts";
import { disk, type Files, type OpenFile, writeFully } from "../files/file.ts";
import { pieces } from "../storage/journal/commit_points.ts";
import { clearPointers } from "../storage/journal/header.ts";
import {
  BackupDirectory,
  type BackupEntry,
  chainOf,
} from "./backup_catalog.ts";

import { describeTid } from "../storage/moment.ts";
import {
  findCommitPoint,
  lastTid,
  type Restored,
  type RestoreOptions,
  writeRestored,
} from "./restore.ts";
import type { Tid } from "../storage/storage.ts";

/** Settings of {@linkcode restoreBackup}. */
export interface RestoreBackupOptions extends RestoreOptions {
  /**
   * The database, as its backups' `database`, or the beginning of that. It is
   * needed if the directory has backups of several.
   */
  readonly database?: string | undefined;
}

/**
 * Writes a new file that holds a database as it was at a moment, from the
 * backups in a directory. Their checksums are verified before, and the new
 * file after. If a backup that holds the moment is damaged, another one that
 * holds it is taken.
 *
 * @throws {StorageError} if there is a file already, or no backup holds the moment.
 * @throws {DamagedFileError} if each backup that holds it is damaged.
 */
export async function restoreBackup(
  directory: string,
  options: RestoreBackupOptions,
): Promise<Restored> {
  return await restoreBackupOn(disk, directory, options);
}

/** Does what `restoreBackup` does, on any file system. */
export async function restoreBackupOn(
  files: Files,
  directory: string,
  { at, to, database }: RestoreBackupOptions,
): Promise<Restored> {
  const limit = lastTid(at);
  const place = new BackupDirectory(directory, files);
  const chain = choose(place, limit, database);
  const like = place.pathOf(chain[0]!.file);
  return await writeRestored(
    files,
    { from: directory, to, like },
    async (part) => {
      for (const entry of chain) await append(place, entry, part);
      // They are those of the journal, which was longer than its backups.
      clearPointers(part);
      part.truncate(findCommitPoint(part, directory, limit).end);
    },
  );
}

/** Returns the backups that it takes, the full one first. */
function choose(
  place: BackupDirectory,
  limit: Tid,
  database: string | undefined,
): BackupEntry[] {
  const entries = entriesOf(place, database);
  const problems: string[] = [];
  for (const chain of chainsThatHold(place.path, entries, limit)) {
    const problem = typeof chain === "string"
      ? chain
      : firstProblem(place, chain);
    if (problem === undefined) return chain as BackupEntry[];
    problems.push(problem);
  }
  throw new DamagedFileError(
    `Cannot restore from ${place.path} as of ${nameOf(limit)}: ${
      problems.join("; ")
    }`,
    { path: place.path, offset: 0 },
  );
}

/** Returns the backups of one database: the one that was named, or the only one. */
function entriesOf(
  place: BackupDirectory,
  database: string | undefined,
): BackupEntry[] {
  const fail = (why: string): never => {
    throw new StorageError(`Cannot restore from ${place.path}: ${why}`);
  };
  const all = place.entries() ?? [];
  if (all.length === 0) return fail("there are no backups in it");
  const newest = new Map(all.map((entry) => [entry.database, entry]));
  const list = [...newest.values()].map(describeDatabase).join(", ");
  const ids = [...newest.keys()]
    .filter((id) => id.startsWith(database?.toLowerCase() ?? ""));
  if (ids.length === 0) {
    return fail(
      `there is no backup of database ${database}; there are ${list}`,
    );
  }
  if (ids.length > 1) {
    return fail(`it has backups of several databases, say of which: ${list}`);
  }
  return all.filter((entry) => entry.database === ids[0]);
}

function describeDatabase({ database, name, lastTid }: BackupEntry): string {
  const file = name === undefined ? "" : `${name}, `;
  return `${database} (${file}last of ${describeTid(lastTid)})`;
}

function firstProblem(
  place: BackupDirectory,
  chain: readonly BackupEntry[],
): string | undefined {
  for (const entry of chain) {
    const problem = place.problemOf(entry);
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/** A full backup and all that continue it. */
interface Family {
  readonly entries: BackupEntry[];
  /** The oldest moment that it holds, and the newest. */
  readonly first: Tid;
  readonly last: Tid;
}

function familiesOf(entries: readonly BackupEntry[]): Family[] {
  const families: Family[] = [];
  for (const entry of entries) {
    const family = families.at(-1);
    if (entry.kind === "full" || family === undefined) {
      const { firstTid: first, lastTid: last } = entry;
      families.push({ entries: [entry], first, last });
    } else {
      family.entries.push(entry);
      families[families.length - 1] = { ...family, last: entry.lastTid };
    }
  }
  return families;
}

/** Returns ways to restore a moment, the latest backups first; or what is missing to go one. */
function chainsThatHold(
  directory: string,
  entries: readonly BackupEntry[],
  limit: Tid,
): (BackupEntry[] | string)[] {
  const families = familiesOf(entries);
  const newest = Math.max(...families.map(({ last }) => last));
  const holding = families.filter(({ first, last }) =>
    first <= limit && (limit <= last || last === newest)
  );
  if (holding.length === 0) throw hole(directory, families, limit);
  return holding.reverse().map(({ entries: family }) => {
    const entry = family.find(({ lastTid }) => lastTid >= limit) ??
      family.at(-1)!;
    return chainOf(entries, entry);
  });
}

function hole(
  directory: string,
  families: readonly Family[],
  limit: Tid,
): StorageError {
  const what = `Cannot restore from ${directory} as of ${nameOf(limit)}`;
  const before = families.filter(({ last }) => last < limit)
    .sort((a, b) => b.last - a.last)[0];
  const after = families.filter(({ first }) => first > limit)
    .sort((a, b) => a.first - b.first)[0]!;
  return new StorageError(
    before === undefined
      ? `${what}: the oldest state in the backups is of ${
        describeTid(after.first)
      }`
      : `${what}: the backups hold nothing between ${
        describeTid(before.last)
      } and ${
        describeTid(after.first)
      }, when the database was packed; choose one of these two`,
  );
}

function nameOf(limit: Tid): string {
  return limit === Number.MAX_SAFE_INTEGER ? "now" : describeTid(limit);
}

/** Writes the part of a journal that a backup holds to its place. */
async function append(
  place: BackupDirectory,
  { file, compressed, size, from, to }: BackupEntry,
  part: OpenFile,
): Promise<void> {
  const path = place.pathOf(file);
  const stored = place.files.open(path, { write: false });
  try {
    const bytes = ReadableStream.from(
      pieces(stored, 0, size, path) as Iterable<Uint8Array<ArrayBuffer>>,
    );
    const stream = compressed
      ? bytes.pipeThrough(new DecompressionStream("gzip"))
      : bytes;
    let at = from;
    for await (const chunk of stream) {
      // No more than was said: a file could unpack to any length.
      if (at + chunk.length > to) {
        throw new Error("it is longer than it should be");
      }
      writeFully(part, chunk, at);
      at += chunk.length;
    }
    if (at !== to) throw new Error("it is shorter than it should be");
  } catch (error) {
    throw new DamagedFileError(
      `Cannot restore from ${path}: ${messageOf(error)}`,
      { path, offset: 0 },
      { cause: error },
    );
  } finally {
    stored.close();
  }
}
