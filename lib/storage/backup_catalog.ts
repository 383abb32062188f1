/**
 * The directory that holds backups, and the list of them in it.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { DharaError, StorageError, StorageLockedError } from "../errors.ts";
import { disk, type OpenFile, writeFully } from "./_file.ts";
import { pieces } from "./_journal_walk.ts";
import { describeHolder } from "./_lock.ts";
import { text } from "./journal.ts";
import type { Tid } from "./storage.ts";

/** One backup: a part of a journal in a file of its own. */
export interface BackupEntry {
  /** Its number; later ones have higher numbers. */
  readonly id: number;
  /** Whether it is the journal from its beginning, or what came after another backup. */
  readonly kind: "full" | "incremental";
  /** The backup that an incremental one continues: its number, 0 for a full one. */
  readonly base: number;
  /** The file's name in the directory. */
  readonly file: string;
  /** Whether the file is compressed (gzip). */
  readonly compressed: boolean;
  /** The database, as 32 hexadecimal digits. */
  readonly database: string;
  /** How often it had been packed. */
  readonly packs: number;
  /** Where in the journal the part begins, in bytes. */
  readonly from: number;
  /** Where it ends. */
  readonly to: number;
  /** Where the last block in it begins. */
  readonly last: number;
  /** The checksum (SHA-256) of that block, which tells whether the journal still goes on from there. */
  readonly lastHash: string;
  /** The oldest moment that can be restored from it. */
  readonly firstTid: Tid;
  /** The newest one. */
  readonly lastTid: Tid;
  /** When it was made: an ISO date. */
  readonly time: string;
  /** How many bytes its file has. */
  readonly size: number;
  /** The checksum (SHA-256) of its file. */
  readonly sha256: string;
}

const CATALOG = "catalog.json";
const FORMAT = "dhara-backup-1";
const NAME = /^\d{6,15}-(full|incremental)\.journal(\.gz)?$/;
const LEFTOVER =
  /^(\d{6,15}-(full|incremental)\.journal(\.gz)?(\.verify)?(\.part)?|catalog\.json\.part)$/;

/** Returns the path of something in a directory. */
export function inDirectory(directory: string, name: string): string {
  return `${directory.replace(/\/+$/, "") || "/"}/${name}`.replace(
    /^\/\//,
    "/",
  );
}

/** Returns the path of the list. */
export function catalogPath(directory: string): string {
  return inDirectory(directory, CATALOG);
}

/**
 * Reads the list of backups in a directory, the oldest first; `undefined` if
 * there is none.
 *
 * @throws {StorageError} if it cannot be read, or is not such a list.
 */
export function readCatalog(directory: string): BackupEntry[] | undefined {
  const path = catalogPath(directory);
  let json: string;
  try {
    json = Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new StorageError(`Cannot read ${path}: ${text(error)}`, {
      cause: error,
    });
  }
  try {
    const { format, entries } = JSON.parse(json);
    if (format !== FORMAT || !Array.isArray(entries)) {
      throw new Error(`it is not a list of backups (${FORMAT})`);
    }
    entries.forEach(checkEntry);
    return entries;
  } catch (error) {
    throw new StorageError(
      `Cannot read ${path}: ${
        text(error)
      }; back up to another directory, and keep this one`,
      { cause: error },
    );
  }
}

function checkEntry(entry: BackupEntry, i: number, all: BackupEntry[]): void {
  const { id, kind, file, compressed, database, sha256, lastHash } = entry;
  const numbers = [
    ...[id, entry.base, entry.packs, entry.from, entry.to, entry.last],
    ...[entry.firstTid, entry.lastTid, entry.size],
  ];
  const good = numbers.every((n) => Number.isSafeInteger(n) && n >= 0) &&
    (kind === "full" || kind === "incremental") &&
    // A name that led elsewhere would let a list read and remove anything.
    typeof file === "string" && NAME.test(file) &&
    typeof compressed === "boolean" &&
    /^[0-9a-f]{32}$/.test(database) && /^[0-9a-f]{64}$/.test(sha256) &&
    /^[0-9a-f]{64}$/.test(lastHash) && entry.from <= entry.last &&
    entry.last < entry.to && typeof entry.time === "string" &&
    id > (all[i - 1]?.id ?? 0);
  if (!good) throw new Error(`entry ${i} cannot be right`);
}

/** Writes the list: either the old one or the new one is there, whatever happens. */
export function writeCatalog(
  directory: string,
  entries: readonly BackupEntry[],
): void {
  const path = catalogPath(directory);
  const json = JSON.stringify({ format: FORMAT, entries }, undefined, 2);
  const part = `${path}.part`;
  disk.remove(part);
  const file = disk.open(part, { write: true, createNew: true });
  try {
    writeFully(file, new TextEncoder().encode(`${json}\n`), 0);
    file.sync();
  } finally {
    file.close();
  }
  disk.rename(part, path);
  disk.syncDirectory(path);
}

/** Makes sure that nobody else backs up to a directory until the result is closed. */
export function lockDirectory(directory: string): OpenFile {
  const path = inDirectory(directory, "backup.lock");
  const file = disk.open(path, { write: true, create: true });
  if (file.lock()) return file;
  const holder = describeHolder(file.identity);
  file.close();
  throw new StorageLockedError(
    `Cannot use ${directory} now: ${holder} is at work there; try again when it has finished`,
  );
}

/** Removes what interrupted backups have left; returns the names. */
export function removeLeftovers(
  directory: string,
  entries: readonly BackupEntry[],
): string[] {
  const known = new Set(entries.map(({ file }) => file));
  const removed: string[] = [];
  for (const { name, isFile } of Deno.readDirSync(directory)) {
    if (!isFile || !LEFTOVER.test(name) || known.has(name)) continue;
    disk.remove(inDirectory(directory, name));
    removed.push(name);
  }
  return removed;
}

/**
 * Returns the backups that it takes to restore one, the full one first, or
 * what is missing.
 */
export function chainOf(
  entries: readonly BackupEntry[],
  entry: BackupEntry,
): BackupEntry[] | string {
  const chain = [entry];
  for (let first = entry; first.kind === "incremental"; first = chain[0]!) {
    const before = entries.find(({ id }) => id === first.base);
    const fits = before !== undefined && before.id < first.id &&
      before.to === first.from && before.database === first.database &&
      before.packs === first.packs;
    if (!fits) {
      return `${first.file} continues backup ${first.base}, which is not in the list`;
    }
    chain.unshift(before);
  }
  return chain[0]!.from === 0
    ? chain
    : `${chain[0]!.file} does not begin at the beginning`;
}

/** Returns what is wrong with the file of a backup, `undefined` if nothing is. */
export function checkFile(
  directory: string,
  { file, size, sha256 }: BackupEntry,
): string | undefined {
  const path = inDirectory(directory, file);
  let open: OpenFile;
  try {
    open = disk.open(path, { write: false });
  } catch (error) {
    return error instanceof Deno.errors.NotFound
      ? `${file} is not there`
      : `${file} cannot be read: ${text(error)}`;
  }
  try {
    if (open.size() !== size) {
      return `${file} has ${open.size()} bytes, and should have ${size}`;
    }
    const right = hashOf(open, 0, size, path) === sha256;
    return right ? undefined : `${file} is damaged: its checksum is wrong`;
  } catch (error) {
    if (error instanceof DharaError) return error.message;
    return `${file} cannot be read: ${text(error)}`;
  } finally {
    open.close();
  }
}

/** Returns the SHA-256 of a part of a file, as hexadecimal digits. */
export function hashOf(
  file: OpenFile,
  from: number,
  to: number,
  name: string,
): string {
  const hash = createHash("sha256");
  for (const bytes of pieces(file, from, to, name)) hash.update(bytes);
  return hash.digest("hex");
}
