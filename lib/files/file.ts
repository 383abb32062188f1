/**
 * The file system, as far as a journal needs it. Everything goes through this
 * interface, so that tests can make it fail.
 *
 * @module
 */
import { lockExclusively, unlock } from "./lock.ts";

/** One open file. */
export interface OpenFile {
  /** What tells this file from all others, whatever its name: `device:number`. Empty if unknown. */
  readonly identity: string;
  /** Returns its length in bytes. */
  size(): number;
  /** Returns its length, and how many names it has: 0 once it was removed. */
  look(): { size: number; names: number };
  /** Reads at an offset, perhaps less than there is room for; returns how much, 0 at the end. */
  read(into: Uint8Array, offset: number): number;
  /** Writes at an offset, perhaps less than was given; returns how much. */
  write(bytes: Uint8Array, offset: number): number;
  /** Cuts everything from `size` on. */
  truncate(size: number): void;
  /** Returns when everything written is on the disk. */
  sync(): void;
  /** Takes the lock that one writer at a time can have; returns whether it got it. */
  lock(): boolean;
  /** Gives the lock back, if it has it. */
  unlock(): void;
  /** Closes it, which gives the lock back. */
  close(): void;
}

/** What there is to do with files by their names. */
export interface Files {
  /** Opens a file. A new one is for its owner alone if it is `secret`. */
  open(
    path: string,
    options: {
      write: boolean;
      create?: boolean;
      createNew?: boolean;
      secret?: boolean;
    },
  ): OpenFile;
  /** Returns what tells the file at a path from others, or `undefined` if there is none. */
  identity(path: string): string | undefined;
  /** Returns the path without links. */
  realPath(path: string): string;
  /** Lets the same users do the same with another file. */
  copyAccess(from: string, to: string): void;
  /** Gives a file a second name, which no file has. */
  link(from: string, to: string): void;
  /** Gives a file another name, in place of any file that had it. */
  rename(from: string, to: string): void;
  /** Removes a file, if there is one. */
  remove(path: string): void;
  /** Returns when the names in a file's directory are on the disk. */
  syncDirectory(path: string): void;
  /** Makes a directory for those who may use the file `like`; returns whether there was none. */
  makeDirectory(path: string, like: string): boolean;
  /** Returns the names of the files in a directory. */
  list(directory: string): string[];
}

class DiskFile implements OpenFile {
  readonly identity: string;
  #file: Deno.FsFile;
  #locked = false;

  constructor(file: Deno.FsFile) {
    this.#file = file;
    this.identity = identify(file.statSync());
  }

  size(): number {
    return this.#file.statSync().size;
  }

  look(): { size: number; names: number } {
    const { size, nlink } = this.#file.statSync();
    // Where the system does not tell, it does not let go of open files either.
    return { size, names: nlink ?? 1 };
  }

  read(into: Uint8Array, offset: number): number {
    this.#file.seekSync(offset, Deno.SeekMode.Start);
    return this.#file.readSync(into) ?? 0;
  }

  write(bytes: Uint8Array, offset: number): number {
    this.#file.seekSync(offset, Deno.SeekMode.Start);
    return this.#file.writeSync(bytes);
  }

  truncate(size: number): void {
    this.#file.truncateSync(size);
  }

  sync(): void {
    this.#file.syncDataSync();
  }

  lock(): boolean {
    return this.#locked = lockExclusively(this.#file, this.identity);
  }

  unlock(): void {
    if (this.#locked) unlock(this.#file, this.identity);
    this.#locked = false;
  }

  close(): void {
    this.unlock();
    this.#file.close();
  }
}

function isSomethingElse(path: string): boolean {
  try {
    return !Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function identify(info: Deno.FileInfo): string {
  return info.ino === null ? "" : `${info.dev}:${info.ino}`;
}

/** The real file system. */
export const disk: Files = {
  open(path, { write, create = false, createNew = false, secret = false }) {
    // Opening a pipe might wait for ever.
    if (!createNew && isSomethingElse(path)) {
      throw new Error("it is not a regular file");
    }
    const options = {
      read: true,
      write,
      create,
      createNew,
      ...(secret && Deno.build.os !== "windows" ? { mode: 0o600 } : {}),
    };
    return new DiskFile(Deno.openSync(path, options));
  },
  identity(path) {
    try {
      return identify(Deno.statSync(path));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  },
  realPath: (path) => Deno.realPathSync(path),
  copyAccess(from, to) {
    if (Deno.build.os === "windows") return;
    const { mode, uid, gid } = Deno.statSync(from);
    const other = Deno.statSync(to);
    // Only the superuser can give a file away, others to a group of theirs.
    const group = (uid === other.uid && gid === other.gid) ||
      give(to, uid, gid) || gid === other.gid || give(to, other.uid, gid);
    if (mode === null) return;
    // Another group may do what everybody may.
    const ours = group ? mode : mode & ~0o070 | (mode & 0o007) << 3;
    Deno.chmodSync(to, ours & 0o777);
  },
  link: (from, to) => Deno.linkSync(from, to),
  rename: (from, to) => Deno.renameSync(from, to),
  remove(path) {
    try {
      Deno.removeSync(path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  },
  syncDirectory(path) {
    // Elsewhere a directory cannot be opened, and need not be synced.
    if (Deno.build.os === "windows") return;
    const directory = Deno.openSync(path.replace(/[^/]*$/, "") || ".");
    try {
      directory.syncSync();
    } finally {
      directory.close();
    }
  },
  makeDirectory(path, like) {
    if (isDirectory(path)) return false;
    const { mode, uid, gid } = Deno.statSync(like);
    // Who may read the file may go in.
    const access = mode === null ? 0o777 : 0o700 | mode | (mode & 0o044) >> 2;
    Deno.mkdirSync(path, { mode: access & 0o777 });
    if (Deno.build.os !== "windows") give(path, uid, gid);
    return true;
  },
  list: (directory) =>
    [...Deno.readDirSync(directory)]
      .filter(({ isFile }) => isFile).map(({ name }) => name),
};

/** Gives a file to another owner and group; returns whether that was allowed. */
function give(path: string, uid: number | null, gid: number | null): boolean {
  try {
    Deno.chownSync(path, uid, gid);
    return true;
  } catch {
    return false;
  }
}

function isDirectory(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Reads until the room is full or the file is at its end; returns how much there was. */
export function readFully(
  file: OpenFile,
  into: Uint8Array,
  offset: number,
): number {
  let done = 0;
  while (done < into.length) {
    const count = file.read(
      done === 0 ? into : into.subarray(done),
      offset + done,
    );
    if (count === 0) break;
    done += count;
  }
  return done;
}

/** Writes all of it. */
export function writeFully(
  file: OpenFile,
  bytes: Uint8Array,
  offset: number,
): void {
  let done = 0;
  while (done < bytes.length) {
    const rest = done === 0 ? bytes : bytes.subarray(done);
    const count = file.write(rest, offset + done);
    if (count === 0) throw new Error("the file takes no more bytes");
    done += count;
  }
}
