/**
 * A disk in memory that can fail at any operation, and loses whatever was not
 * synced when the power fails.
 */
import type { Files, OpenFile } from "../../lib/files/file.ts";

export const SECTOR = 512;

/** What is done to the disk. Reading is not counted. */
export type Operation =
  | "open"
  | "write"
  | "truncate"
  | "sync"
  | "link"
  | "rename"
  | "remove"
  | "sync directory";

/** What goes wrong. */
export type Fault =
  /** Nothing is done. */
  | "fails"
  /** Only a part is written, and then nothing more. */
  | "cut short"
  /** Only a part is written, which is not an error. */
  | "partial"
  /** A sync fails, and the system forgets that there was something to write. */
  | "fails and forgets"
  /** It is done, and reported as failed all the same. */
  | "fails late"
  /** Here the power fails. */
  | "power";

/** Thrown by each operation once the power has failed: nobody is there to catch it. */
export class PowerFailure extends Error {}

/** One file: what is on the disk, and what the system shows. */
class Inode {
  static count = 0;
  readonly identity = `1:${++Inode.count}`;
  locked = false;
  now = new Bytes();
  onDisk = new Bytes();
  /** Sectors written since the last sync. */
  dirty = new Set<number>();
  /** Sectors that a failed sync has forgotten: shown, not on the disk. */
  forgotten = new Set<number>();

  write(bytes: Uint8Array, offset: number): void {
    this.now.write(bytes, offset);
    this.touch(offset, offset + bytes.length);
  }

  truncate(size: number): void {
    const before = this.now.length;
    this.now.resize(size);
    // The rest of the last sector is written as zeros.
    if (size < before) this.touch(size, size + 1);
  }

  touch(from: number, to: number): void {
    for (
      let sector = Math.floor(from / SECTOR);
      sector * SECTOR < to;
      sector++
    ) {
      this.dirty.add(sector);
      this.forgotten.delete(sector);
    }
  }

  sync(): void {
    this.onDisk.resize(this.now.length);
    for (const sector of this.dirty) this.onDisk.copySector(this.now, sector);
    this.dirty.clear();
  }

  forget(): void {
    this.onDisk.resize(this.now.length);
    for (const sector of this.dirty) this.forgotten.add(sector);
    this.dirty.clear();
  }

  /** Keeps only some of what was not synced. */
  crash(keep: Keep): void {
    const left = this.onDisk.clone();
    // The length may be there without the bytes.
    if (keep("length")) left.resize(this.now.length);
    for (const sector of this.dirty) {
      if (keep("sector")) left.copySector(this.now, sector);
    }
    this.onDisk = left;
    this.now = left.clone();
    this.dirty.clear();
    this.forgotten.clear();
    this.locked = false;
  }

  clone(): Inode {
    const clone = new Inode();
    clone.now = this.now.clone();
    clone.onDisk = this.onDisk.clone();
    clone.dirty = new Set(this.dirty);
    clone.forgotten = new Set(this.forgotten);
    return clone;
  }
}

/** Says of something that was not synced whether it is there after the power failed. */
export type Keep = (what: "names" | "length" | "sector") => boolean;

/** Bytes that grow. */
class Bytes {
  #buffer = new Uint8Array(4096);
  length = 0;

  get bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.length);
  }

  clone(): Bytes {
    const clone = new Bytes();
    clone.#buffer = this.#buffer.slice();
    clone.length = this.length;
    return clone;
  }

  resize(length: number): void {
    if (length > this.#buffer.length) {
      const buffer = new Uint8Array(Math.max(length, 2 * this.#buffer.length));
      buffer.set(this.bytes);
      this.#buffer = buffer;
    }
    if (length < this.length) this.#buffer.fill(0, length, this.length);
    this.length = length;
  }

  write(bytes: Uint8Array, offset: number): void {
    const end = offset + bytes.length;
    if (end > this.length) this.resize(end);
    this.#buffer.set(bytes, offset);
  }

  /** Takes over one sector, as far as this is long enough. */
  copySector(from: Bytes, sector: number): void {
    const start = sector * SECTOR;
    const end = Math.min(start + SECTOR, this.length, from.length);
    if (start < end) this.write(from.bytes.subarray(start, end), start);
  }
}

/** What goes wrong with so many operations in a row, the first of which is the `at`th, counted from 0. */
export interface Plan {
  readonly at: number;
  readonly fault: Fault;
  readonly times?: number;
}

/** A disk with one directory. */
export class SimulatedDisk implements Files {
  /** Every operation so far. */
  readonly log: Operation[] = [];
  /** What shall go wrong. */
  plans: readonly Plan[] = [];
  /** Whether it went wrong. */
  faulted = false;
  /** Whether no sync and no cutting works any more. */
  failing = false;
  #off = false;
  #directories = new Set<string>();
  #names = new Map<string, Inode>();
  #namesOnDisk = new Map<string, Inode>();

  /** Counts an operation; returns what goes wrong with it. */
  begin(operation: Operation): Fault | undefined {
    if (this.#off) throw new PowerFailure();
    const number = this.log.push(operation) - 1;
    const plan = this.plans.find(({ at, times = 1 }) =>
      at <= number && number < at + times
    );
    if (plan !== undefined) this.faulted = true;
    return plan?.fault;
  }

  /** Does an operation that has no parts, unless something goes wrong. */
  do(operation: Operation, act: () => void): void {
    const fault = this.begin(operation);
    if (fault === undefined || fault === "partial") return act();
    if (fault === "fails late") act();
    if (fault === "power") {
      // It may still be done, if nothing is for sure before the next sync.
      if (!operation.startsWith("sync")) act();
      this.fail();
    }
    throw new Error(`Input/output error: ${operation}`);
  }

  /** The power fails: nothing can be done any more until `crash()`. */
  fail(): never {
    this.#off = true;
    throw new PowerFailure();
  }

  /** Returns another disk with the same on it, where nothing is planned. */
  clone(): SimulatedDisk {
    const clone = new SimulatedDisk();
    clone.#directories = new Set(this.#directories);
    const inodes = new Map<Inode, Inode>();
    const copy = (inode: Inode) => {
      if (!inodes.has(inode)) inodes.set(inode, inode.clone());
      return inodes.get(inode)!;
    };
    for (const [name, inode] of this.#names) {
      clone.#names.set(name, copy(inode));
    }
    for (const [name, inode] of this.#namesOnDisk) {
      clone.#namesOnDisk.set(name, copy(inode));
    }
    return clone;
  }

  open(
    path: string,
    options: { create?: boolean; createNew?: boolean },
  ): OpenFile {
    let inode = this.#names.get(path);
    if (inode !== undefined && options.createNew) {
      throw new Deno.errors.AlreadyExists(path);
    }
    if (inode === undefined && !options.create && !options.createNew) {
      throw new Deno.errors.NotFound(path);
    }
    this.do("open", () => {
      inode ??= new Inode();
      this.#names.set(path, inode);
    });
    return openInode(inode!, this);
  }

  identity(path: string): string | undefined {
    return this.#names.get(path)?.identity;
  }

  realPath(path: string): string {
    return path;
  }

  copyAccess(): void {}

  link(from: string, to: string): void {
    this.do("link", () => {
      const inode = this.#names.get(from);
      if (this.#names.has(to)) throw new Deno.errors.AlreadyExists(to);
      if (inode !== undefined) this.#names.set(to, inode);
    });
  }

  rename(from: string, to: string): void {
    this.do("rename", () => {
      const inode = this.#names.get(from);
      if (inode === undefined) return;
      this.#names.set(to, inode);
      this.#names.delete(from);
    });
  }

  remove(path: string): void {
    this.do("remove", () => this.#names.delete(path));
  }

  syncDirectory(): void {
    this.do(
      "sync directory",
      () => this.#namesOnDisk = new Map(this.#names),
    );
  }

  /** Directories are there for whoever needs one: none is lost. */
  makeDirectory(path: string): boolean {
    if (this.#directories.has(path)) return false;
    this.#directories.add(path);
    return true;
  }

  list(directory: string): string[] {
    return this.names().filter((name) => name.startsWith(`${directory}/`))
      .map((name) => name.slice(directory.length + 1));
  }

  /** The names of all files. */
  names(): string[] {
    return [...this.#names.keys()];
  }

  /** Returns how many names a file has. */
  countNames(inode: Inode): number {
    return [...this.#names.values()].filter((other) => other === inode).length;
  }

  /** Writes what no process does: it is not counted, and it is on the disk. */
  append(path: string, bytes: Uint8Array): void {
    const inode = this.#names.get(path)!;
    inode.write(bytes, inode.now.length);
    inode.sync();
  }

  /** The power fails, or has failed, and comes back. */
  crash(keep: Keep): void {
    // A rename happens or does not.
    if (!keep("names")) this.#names = new Map(this.#namesOnDisk);
    for (const inode of this.#names.values()) inode.crash(keep);
    this.#namesOnDisk = new Map(this.#names);
    this.#off = false;
  }

  /** The process is killed: the system goes on. */
  kill(): void {
    for (const inode of this.#names.values()) inode.locked = false;
    this.#off = false;
  }
}

function openInode(inode: Inode, disk: SimulatedDisk): OpenFile {
  let locked = false;
  return {
    identity: inode.identity,
    size: () => inode.now.length,
    look: () => ({
      size: inode.now.length,
      names: disk.countNames(inode),
    }),
    read(into, offset) {
      const bytes = inode.now.bytes.subarray(offset, offset + into.length);
      into.set(bytes);
      return bytes.length;
    },
    write(bytes, offset) {
      const fault = disk.begin("write");
      const half = bytes.length >> 1;
      switch (fault) {
        case undefined:
          inode.write(bytes, offset);
          return bytes.length;
        case "power":
          inode.write(bytes, offset);
          return disk.fail();
        case "partial":
          inode.write(bytes.subarray(0, Math.max(1, half)), offset);
          return Math.max(1, half);
        case "cut short":
          inode.write(bytes.subarray(0, half), offset);
          throw new Error("Input/output error");
        default:
          if (fault === "fails late") inode.write(bytes, offset);
          throw Object.assign(new Error("No space left on device"), {
            code: "ENOSPC",
          });
      }
    },
    truncate(size) {
      if (disk.failing) throw new Error("the power fails");
      disk.do("truncate", () => inode.truncate(size));
    },
    sync() {
      if (disk.failing) throw new Error("the power fails");
      const fault = disk.begin("sync");
      if (fault === undefined) return inode.sync();
      if (fault === "power") disk.fail();
      if (fault === "fails late") inode.sync();
      if (fault === "fails and forgets") inode.forget();
      throw new Error("Input/output error");
    },
    lock() {
      if (inode.locked) return false;
      return inode.locked = locked = true;
    },
    unlock() {
      if (locked) inode.locked = locked = false;
    },
    close() {
      if (locked) inode.locked = locked = false;
    },
  };
}
