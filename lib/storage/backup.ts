/**
 * Backups of a journal in a directory, full and incremental.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { DharaError, StorageError } from "../errors.ts";
import { disk, type OpenFile, writeFully } from "./_file.ts";
import {
  checkBlocks,
  type Moment,
  moments,
  pieces,
  readHeader,
} from "./_journal_walk.ts";
import {
  type BackupEntry,
  chainOf,
  checkFile,
  hashOf,
  inDirectory,
  lockDirectory,
  readCatalog,
  removeLeftovers,
  writeCatalog,
} from "./backup_catalog.ts";
import { restoreBackup } from "./backup_restore.ts";
import { text } from "./journal.ts";
import type { Header } from "./journal_format.ts";
import { openForReading } from "./restore.ts";

export type { BackupEntry } from "./backup_catalog.ts";

/** Settings of {@linkcode backup}. */
export interface BackupOptions {
  /** Back up everything, even if it would do to add what is new. */
  readonly full?: boolean;
  /**
   * Keep so many full backups with all that continue them, and remove older
   * ones once the new one is safe. All are kept if it is left out.
   */
  readonly keep?: number | undefined;
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
 * const first = await backup(`${directory}/bank.dhara`, `${directory}/backups`);
 * assertEquals(first.entry?.kind, "full");
 *
 * connection.root["ada"] = 20;
 * connection.commit();
 * const next = await backup(`${directory}/bank.dhara`, `${directory}/backups`);
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
  directory: string,
  options: BackupOptions = {},
): Promise<BackupResult> {
  const { keep } = options;
  if (keep !== undefined && (!Number.isSafeInteger(keep) || keep < 1)) {
    throw new StorageError(
      `Cannot keep ${keep} backups: it must be a whole number, 1 or more`,
    );
  }
  const file = openForReading(path, "back up");
  let lock: OpenFile | undefined;
  try {
    Deno.mkdirSync(directory, { recursive: true });
    lock = lockDirectory(directory);
    const entries = readCatalog(directory) ?? [];
    removeLeftovers(directory, entries);
    const { entry, reason } = await add(
      file,
      { path, directory, entries },
      options,
    );
    const removed = retain(directory, entries, keep);
    return { entry, reason, removed };
  } catch (error) {
    if (error instanceof DharaError) throw error;
    throw new StorageError(
      `Cannot back up ${path} to ${directory}: ${text(error)}`,
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
  const entries = readCatalog(directory);
  if (entries === undefined) {
    throw new StorageError(
      `Cannot check ${directory}: there are no backups in it`,
    );
  }
  const problems: string[] = [];
  for (const entry of entries) {
    const chain = chainOf(entries, entry);
    if (typeof chain === "string") problems.push(chain);
    const problem = checkFile(directory, entry);
    if (problem !== undefined) problems.push(problem);
  }
  return { entries, problems };
}

interface Place {
  readonly path: string;
  readonly directory: string;
  readonly entries: BackupEntry[];
}

async function add(
  file: OpenFile,
  { path, directory, entries }: Place,
  { full = false, verify = false, compress = true }: BackupOptions,
): Promise<{ entry: BackupEntry | undefined; reason: string | undefined }> {
  const header = readHeader(file, path);
  const before = entries.at(-1);
  const reason = header === undefined
    ? undefined
    : whyFull(file, header, path, { before, entries, directory, full });
  const base = reason === undefined ? before : undefined;
  const range = rangeOf(file, path, base?.to);
  if (range === undefined) {
    if (base !== undefined) return { entry: undefined, reason: undefined };
    throw new StorageError(
      `Cannot back up ${path}: nothing was ever stored in it`,
    );
  }
  checkBlocks(file, range.from, range.to, path);
  const id = (before?.id ?? 0) + 1;
  const kind = base === undefined ? "full" : "incremental";
  const name = `${String(id).padStart(6, "0")}-${kind}.journal${
    compress ? ".gz" : ""
  }`;
  const stored = await store(file, range, inDirectory(directory, name), {
    path,
    compress,
  });
  const entry: BackupEntry = {
    id,
    kind,
    base: base?.id ?? 0,
    file: name,
    compressed: compress,
    database: hex(header!.database),
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
  const problem = checkFile(directory, entry);
  if (problem !== undefined) {
    throw new StorageError(
      `Cannot back up ${path}: what was written to ${directory} is not what is there: ${problem}`,
    );
  }
  writeCatalog(directory, [...entries, entry]);
  entries.push(entry);
  if (verify) {
    try {
      await tryRestore(directory, entry);
    } catch (error) {
      entries.pop();
      writeCatalog(directory, entries);
      disk.remove(inDirectory(directory, name));
      throw error;
    }
  }
  return { entry, reason };
}

/** Restores a backup to a temporary file, which verifies it. */
async function tryRestore(
  directory: string,
  { file, lastTid }: BackupEntry,
): Promise<void> {
  const to = inDirectory(directory, `${file}.verify`);
  try {
    await restoreBackup(directory, { at: lastTid, to });
  } finally {
    disk.remove(to);
  }
}

/** Returns why a backup must be a full one, `undefined` if it can continue the last one. */
function whyFull(
  file: OpenFile,
  header: Header,
  path: string,
  { before, entries, directory, full }: {
    before: BackupEntry | undefined;
    entries: readonly BackupEntry[];
    directory: string;
    full: boolean;
  },
): string | undefined {
  if (full) return "it was asked for";
  if (before === undefined) return "it is the first one";
  if (before.database !== hex(header.database)) {
    return "the backup before is of another database";
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
    try {
      if (Deno.statSync(inDirectory(directory, name)).size === size) continue;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    return `${name} is not as it was`;
  }
  return undefined;
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
  let first: Moment | undefined;
  let moment: Moment | undefined;
  for (moment of moments(file, path, from)) first ??= moment;
  if (first === undefined || moment === undefined) return undefined;
  const { last, end: to, tid } = moment;
  return { from: from ?? 0, to, last, first: first.tid, tid };
}

/** Writes a part of a journal to a file; returns its size and its checksum. */
async function store(
  file: OpenFile,
  { from, to }: Range,
  target: string,
  { path, compress }: { path: string; compress: boolean },
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
  const out = disk.open(part, { write: true, createNew: true });
  try {
    for await (const chunk of stream) {
      hash.update(chunk);
      writeFully(out, chunk, size);
      size += chunk.length;
    }
    out.sync();
    disk.copyAccess(path, part);
  } catch (error) {
    disk.remove(part);
    throw error;
  } finally {
    out.close();
  }
  disk.rename(part, target);
  disk.syncDirectory(target);
  return { size, sha256: hash.digest("hex") };
}

/** Removes what is older than the last `keep` full backups. Returns what that is. */
function retain(
  directory: string,
  entries: readonly BackupEntry[],
  keep: number | undefined,
): BackupEntry[] {
  if (keep === undefined) return [];
  const fulls = entries.filter(({ kind }) => kind === "full");
  const oldest = fulls.at(-keep)?.id ?? 0;
  const removed = entries.filter(({ id }) => id < oldest);
  if (removed.length === 0) return [];
  // First from the list, so that it never names what is not there.
  writeCatalog(directory, entries.filter(({ id }) => id >= oldest));
  for (const { file } of removed) disk.remove(inDirectory(directory, file));
  return removed;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0"))
    .join("");
}
