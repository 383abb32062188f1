/**
 * The directory that holds backups, and the list of them in it.
 *
 * @module
 */
import { messageOf } from "../message.ts";
import { createHash } from "node:crypto";
import { dirname } from "node:path";
import { DharaError, StorageError, StorageLockedError } from "../errors.ts";
import {
  type Files,
  type OpenFile,
  readFully,
  writeFully,
} from "../files/file.ts";
import { pieces } from "../storage/journal/commit_points.ts";
import { describeHolder } from "../files/lock.ts";

import type { Tid } from "../storage/storage.ts";

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
  /** The name that its file had, without the directory. */
  readonly name?: string;
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
  /^(\d{6,15}-(full|incremental)\.journal(\.gz)?(\.verify)?(\.[0-9a-f]{8})?(\.part)?|catalog\.json\.part)$/;

/** A directory with backups, and a list of them that is right whatever happens. */
export class BackupDirectory {
  /** Takes the path of a directory, which is not looked at yet. */
  constructor(readonly path: string, readonly files: Files) {}

  /** Returns the path of something in it. */
  pathOf(name: string): string {
    return `${this.path.replace(/\/+$/, "")}/${name}`;
  }

  /** Makes it and those above it, as far as they are not there, for those who may use the file `like`. */
  make(like: string, path = this.path): void {
    const above = dirname(path);
    try {
      if (!this.files.makeDirectory(path, like)) return;
    } catch (error) {
      if (error instanceof Deno.errors.AlreadyExists) {
        throw new Error(`${path} is not a directory`, { cause: error });
      }
      if (!(error instanceof Deno.errors.NotFound) || above === path) {
        throw error;
      }
      this.make(like, above);
      this.files.makeDirectory(path, like);
    }
    this.files.syncDirectory(path.replace(/\/+$/, ""));
  }

  /**
   * Reads the list of backups, the oldest first; `undefined` if there is none.
   *
   * @throws {StorageError} if it cannot be read, or is not such a list.
   */
  entries(): BackupEntry[] | undefined {
    const path = this.pathOf(CATALOG);
    let json: string;
    try {
      json = readText(this.files, path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw new StorageError(`Cannot read ${path}: ${messageOf(error)}`, {
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
          messageOf(error)
        }; back up to another directory, and keep this one`,
        { cause: error },
      );
    }
  }

  /**
   * Writes the list, for those who may use the file `like` if it is the first
   * one: either the old one or the new one is there, whatever happens.
   */
  write(entries: readonly BackupEntry[], like: string): void {
    const { files } = this;
    const path = this.pathOf(CATALOG);
    const json = JSON.stringify({ format: FORMAT, entries }, undefined, 2);
    const part = `${path}.part`;
    files.remove(part);
    const file = files.open(part, {
      write: true,
      createNew: true,
      secret: true,
    });
    try {
      files.copyAccess(files.identity(path) === undefined ? like : path, part);
      writeFully(file, new TextEncoder().encode(`${json}\n`), 0);
      file.sync();
    } finally {
      file.close();
    }
    files.rename(part, path);
    files.syncDirectory(path);
  }

  /** Makes sure that nobody else backs up to it until the result is closed. */
  lock(): OpenFile {
    const path = this.pathOf("backup.lock");
    const file = this.files.open(path, { write: true, create: true });
    if (file.lock()) return file;
    const holder = describeHolder(file.identity);
    file.close();
    throw new StorageLockedError(
      `Cannot use ${this.path} now: ${holder} is at work there; try again when it has finished`,
    );
  }

  /**
   * Reads the list for adding to it, and removes what interrupted backups have
   * left. A list is there from now on, so that what is not listed is nothing.
   *
   * @throws {StorageError} if there are backups and no list of them.
   */
  prepare(like: string): BackupEntry[] {
    const entries = this.entries();
    const known = new Set(entries?.map(({ file }) => file));
    const left = this.files.list(this.path)
      .filter((name) => LEFTOVER.test(name) && !known.has(name));
    const lost = entries === undefined && left.find((name) => NAME.test(name));
    if (lost) {
      throw new StorageError(
        `Cannot back up to ${this.path}: it has backups such as ${lost}, but their list, ${CATALOG}, is not there; bring it back, or back up to another directory`,
      );
    }
    for (const name of left) this.files.remove(this.pathOf(name));
    if (entries === undefined) this.write([], like);
    return entries ?? [];
  }

  /** Returns what is wrong with the file of a backup, `undefined` if nothing is. */
  problemOf({ file, size, sha256 }: BackupEntry): string | undefined {
    const path = this.pathOf(file);
    let open: OpenFile;
    try {
      open = this.files.open(path, { write: false });
    } catch (error) {
      return error instanceof Deno.errors.NotFound
        ? `${file} is not there`
        : `${file} cannot be read: ${messageOf(error)}`;
    }
    try {
      if (open.size() !== size) {
        return `${file} has ${open.size()} bytes, and should have ${size}`;
      }
      const right = hashOf(open, 0, size, path) === sha256;
      return right ? undefined : `${file} is damaged: its checksum is wrong`;
    } catch (error) {
      if (error instanceof DharaError) return error.message;
      return `${file} cannot be read: ${messageOf(error)}`;
    } finally {
      open.close();
    }
  }
}

function readText(files: Files, path: string): string {
  const file = files.open(path, { write: false });
  try {
    const bytes = new Uint8Array(file.size());
    return new TextDecoder().decode(
      bytes.subarray(0, readFully(file, bytes, 0)),
    );
  } finally {
    file.close();
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
    (entry.name === undefined || typeof entry.name === "string") &&
    /^[0-9a-f]{32}$/.test(database) && /^[0-9a-f]{64}$/.test(sha256) &&
    /^[0-9a-f]{64}$/.test(lastHash) && entry.from <= entry.last &&
    entry.last < entry.to && typeof entry.time === "string" &&
    id > (all[i - 1]?.id ?? 0);
  if (!good) throw new Error(`entry ${i} cannot be right`);
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
