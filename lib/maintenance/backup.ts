/**
 * Backups of a journal in a directory, full and incremental.
 *
 * @module
 */
import { messageOf } from "../message.ts";
import { toHex } from "../serialize/bytes.ts";
import { createHash } from "node:crypto";
import { basename } from "node:path";
import { DharaError, StorageError } from "../errors.ts";
import { disk, type Files, type OpenFile, writeFully } from "../files/file.ts";
import {
  checkBlocks,
  type CommitPoint,
  commitPoints,
  pieces,
} from "../storage/journal/commit_points.ts";
import { readHeader } from "../storage/journal/header.ts";
import {
  BackupDirectory,
  type BackupEntry,
  chainOf,
  hashOf,
} from "./backup_catalog.ts";
import { restoreBackupOn } from "./backup_restore.ts";

import type { Header } from "../storage/journal/format.ts";
import { openForReading } from "./restore.ts";

export type { BackupEntry } from "./backup_catalog.ts";

/** Settings of {@linkcode backup}. */
export interface BackupOptions {
  /** The directory for the backups, which is made if there is none. */
  readonly to: string;
  /** Back up everything, even if it would do to add what is new. */
  readonly full?: boolean;
  /**
   * Keep so many full backups of this database with all that continue them,
   * and remove older ones once the new one is safe. All are kept if it is left
   * out, and those of other databases in any case.
   */
  readonly keepLast?: number | undefined;
  /** Afterwards restore the backup to a temporary file in the directory, and verify that. */
  readonly verify?: boolean;
  /** Whether to compress (gzip): true by default. */
  readonly compress?: boolean;
}

/** What {@linkcode backup} has done. */
export interface BackupResult {
  /** The new backup, `undefined` if there was nothing new. */
  readonly entry: BackupEntry | undefined;
  /** Why it is a full one. */
  readonly reason: string | undefined;
  /** The backups that were removed. */
  readonly removed: readonly BackupEntry[];
}

/** What {@linkcode checkBackups} has found. */
export interface BackupCheck {
  /** All backups, the oldest first. */
  readonly entries: readonly BackupEntry[];
  /** What is wrong with any of them; empty if all is well. */
  readonly problems: readonly string[];
}

/**
 * Backs up a database file to a directory, which is made if there is none. The
 * database may be in use: it is opened for reading only, and what is committed
 * meanwhile is left for the next time. If the directory has a backup of the
 * same journal, only what is new since is added.
 *
 * The bytes are checked while they are read, and again after they were
 * written. Nothing is listed before it is safe on the disk, so that an
 * interrupted backup leaves the earlier ones as they were.
 *
 * @throws {StorageError} if the file or the directory cannot be used.
 * @throws {StorageLockedError} if somebody else backs up to the directory.
 * @throws {DamagedFileError} if the file is damaged.
 *
 * @example
 * ```ts
 * import { backup, Connection, restoreBackup } from "@dhara/dhara";
 * import { assertEquals } from "@std/assert";
 *
 * const directory = Deno.makeTempDirSync();
 * using connection = new Connection(`${directory}/bank.dhara`);
 * connection.root["ada"] = 10;
 * connection.commit();
 * const to = `${directory}/backups`;
 * const first = await backup(`${directory}/bank.dhara`, { to });
 * assertEquals(first.entry?.kind, "full");
 *
 * connection.root["ada"] = 20;
 * connection.commit();
 * const next = await backup(`${directory}/bank.dhara`, { to });
 * assertEquals(next.entry?.kind, "incremental");
 *
 * await restoreBackup(`${directory}/backups`, {
 *   to: `${directory}/restored.dhara`,
 * });
 * {
 *   using restored = new Connection(`${directory}/restored.dhara`);
 *   assertEquals(restored.root["ada"], 20);
 * }
 * ```
 */
export async function backup(
  path: string,
  options: BackupOptions,
): Promise<BackupResult> {
  return await backupOn(disk, path, options);
}

/** Does what `backup` does, on any file system. */
export async function backupOn(
  files: Files,
  path: string,
  options: BackupOptions,
): Promise<BackupResult> {
  const { to: directory, keepLast } = options;
  if (
    keepLast !== undefined &&
    (!Number.isSafeInteger(keepLast) || keepLast < 1)
  ) {
    throw new StorageError(
      `Cannot keep the last ${keepLast} backups: it must be a whole number, 1 or more`,
    );
  }
  const file = openForReading(files, path, "back up");
  let lock: OpenFile | undefined;
  try {
    const place = new BackupDirectory(directory, files);
    place.make(path);
    lock = place.lock();
    const source = { file, path, place, entries: place.prepare(path) };
    const { entry, reason, database } = await add(source, options);
    const removed = keepLast === undefined
      ? []
      : retain(source, database, keepLast);
    return { entry, reason, removed };
  } catch (error) {
    if (error instanceof DharaError) throw error;
    throw new StorageError(
      `Cannot back up ${path} to ${directory}: ${messageOf(error)}`,
      { cause: error },
    );
  } finally {
    lock?.close();
    file.close();
  }
}

/**
 * Reads all backups in a directory, and compares them with their checksums.
 *
 * @throws {StorageError} if there is no list of backups, or it cannot be read.
 */
export function checkBackups(directory: string): BackupCheck {
  const place = new BackupDirectory(directory, disk);
  const entries = place.entries();
  if (entries === undefined) {
    throw new StorageError(
      `Cannot check ${directory}: there are no backups in it`,
    );
  }
  const problems: string[] = [];
  for (const entry of entries) {
    const chain = chainOf(entries, entry);
    if (typeof chain === "string") problems.push(chain);
    const problem = place.problemOf(entry);
    if (problem !== undefined) problems.push(problem);
  }
  return { entries, problems };
}

/** What is backed up, and where to. */
interface Source {
  readonly file: OpenFile;
  readonly path: string;
  readonly place: BackupDirectory;
  readonly entries: BackupEntry[];
}

async function add(
  source: Source,
  { full = false, verify = false, compress = true }: BackupOptions,
): Promise<Pick<BackupResult, "entry" | "reason"> & { database: string }> {
  const { file, path, place, entries } = source;
  const header = readHeader(file, path);
  const database = header && toHex(header.database);
  const before = entries.findLast((entry) => entry.database === database);
  const reason = header && whyFull(source, header, before, full);
  const base = reason === undefined ? before : undefined;
  const range = database && rangeOf(file, path, base?.to);
  if (!range) {
    if (database !== undefined && base !== undefined) {
      return { entry: undefined, reason: undefined, database };
    }
    throw new StorageError(
      `Cannot back up ${path}: nothing was ever stored in it`,
    );
  }
  checkBlocks(file, range.from, range.to, path);
  const id = (entries.at(-1)?.id ?? 0) + 1;
  const kind = base === undefined ? "full" : "incremental";
  const name = `${String(id).padStart(6, "0")}-${kind}.journal${
    compress ? ".gz" : ""
  }`;
  const stored = await store(source, range, place.pathOf(name), compress);
  const entry: BackupEntry = {
    id,
    kind,
    base: base?.id ?? 0,
    file: name,
    compressed: compress,
    database,
    name: basename(path),
    packs: header!.packs,
    from: range.from,
    to: range.to,
    last: range.last,
    lastHash: hashOf(file, range.last, range.to, path),
    firstTid: range.first,
    lastTid: range.tid,
    time: new Date().toISOString(),
    ...stored,
  };
  const problem = place.problemOf(entry);
  if (problem !== undefined) {
    throw new StorageError(
      `Cannot back up ${path}: what was written to ${place.path} is not what is there: ${problem}`,
    );
  }
  place.write([...entries, entry], path);
  if (verify) {
    try {
      await tryRestore(place, entry);
    } catch (error) {
      place.write(entries, path);
      place.files.remove(place.pathOf(name));
      throw error;
    }
  }
  entries.push(entry);
  return { entry, reason, database };
}

/** Restores a backup to a temporary file, which verifies it. */
async function tryRestore(
  place: BackupDirectory,
  { file, lastTid, database }: BackupEntry,
): Promise<void> {
  const { files, path } = place;
  const to = place.pathOf(`${file}.verify`);
  try {
    await restoreBackupOn(files, path, { at: lastTid, to, database });
  } finally {
    files.remove(to);
  }
}

/** Returns why a backup must be a full one, `undefined` if it can continue the one before. */
function whyFull(
  { file, path, place, entries }: Source,
  header: Header,
  before: BackupEntry | undefined,
  full: boolean,
): string | undefined {
  if (full) return "it was asked for";
  if (before === undefined) {
    return entries.length === 0
      ? "it is the first one"
      : "the backup before is of another database";
  }
  if (before.packs !== header.packs) {
    return "the database was packed since the backup before";
  }
  const same = file.size() >= before.to &&
    hashOf(file, before.last, before.to, path) === before.lastHash;
  if (!same) return "the file does not continue the backup before";
  const chain = chainOf(entries, before);
  if (typeof chain === "string") return chain;
  for (const { file: name, size } of chain) {
    // The checksums are for `checkBackups`; a missing file costs nothing to see.
    if (sizeOf(place, name) !== size) return `${name} is not as it was`;
  }
  return undefined;
}

function sizeOf(place: BackupDirectory, name: string): number | undefined {
  try {
    const file = place.files.open(place.pathOf(name), { write: false });
    try {
      return file.size();
    } finally {
      file.close();
    }
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

interface Range {
  readonly from: number;
  readonly to: number;
  /** Where the last block begins. */
  readonly last: number;
  /** The oldest moment in it, and the newest. */
  readonly first: number;
  readonly tid: number;
}

/** Returns what there is to back up, `undefined` if there is nothing. */
function rangeOf(
  file: OpenFile,
  path: string,
  from: number | undefined,
): Range | undefined {
  let first: CommitPoint | undefined;
  let point: CommitPoint | undefined;
  for (point of commitPoints(file, path, from)) first ??= point;
  if (first === undefined || point === undefined) return undefined;
  const { last, end: to, tid } = point;
  return { from: from ?? 0, to, last, first: first.tid, tid };
}

/** Writes a part of a journal to a file; returns its size and its checksum. */
async function store(
  { file, path, place: { files } }: Source,
  { from, to }: Range,
  target: string,
  compress: boolean,
): Promise<{ size: number; sha256: string }> {
  const bytes = ReadableStream.from(
    pieces(file, from, to, path) as Iterable<Uint8Array<ArrayBuffer>>,
  );
  const stream = compress
    ? bytes.pipeThrough(new CompressionStream("gzip"))
    : bytes;
  const part = `${target}.part`;
  const hash = createHash("sha256");
  let size = 0;
  const out = files.open(part, { write: true, createNew: true, secret: true });
  try {
    files.copyAccess(path, part);
    for await (const chunk of stream) {
      hash.update(chunk);
      writeFully(out, chunk, size);
      size += chunk.length;
    }
    out.sync();
  } catch (error) {
    files.remove(part);
    throw error;
  } finally {
    out.close();
  }
  files.rename(part, target);
  files.syncDirectory(target);
  return { size, sha256: hash.digest("hex") };
}

/** Removes what is older than the last `keepLast` full backups of a database. Returns what that is. */
function retain(
  { path, place, entries }: Source,
  database: string,
  keepLast: number,
): BackupEntry[] {
  const same = entries.filter((entry) => entry.database === database);
  const oldest = same.filter(({ kind }) => kind === "full").at(-keepLast)?.id ??
    0;
  const removed = same.filter(({ id }) => id < oldest);
  if (removed.length === 0) return [];
  // First from the list, so that it never names what is not there.
  place.write(entries.filter((entry) => !removed.includes(entry)), path);
  for (const { file } of removed) place.files.remove(place.pathOf(file));
  return removed;
}
