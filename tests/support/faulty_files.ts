/** A file system that can be made to fail. */
import { disk, type Files, type OpenFile } from "../../lib/files/file.ts";

/** What goes wrong, and what was done. */
export class Faults {
  /** So many bytes fit on the disk before it is full. */
  room = Infinity;
  /** No write takes more bytes than that. */
  largestWrite = Infinity;
  /** No read gives more bytes than that. */
  largestRead = Infinity;
  failSync = false;
  failTruncate = false;
  failRename = false;
  failDirectorySync = false;
  writes = 0;
  syncs = 0;
  bytesRead = 0;

  /** The file system to give to the storage. */
  readonly files: Files = {
    ...disk,
    open: (path, options) => new FaultyFile(disk.open(path, options), this),
    rename: (from, to) => {
      if (this.failRename) throw new Error("rename failed");
      disk.rename(from, to);
    },
    syncDirectory: (path) => {
      if (this.failDirectorySync) throw new Error("directory sync failed");
      disk.syncDirectory(path);
    },
  };
}

class FaultyFile implements OpenFile {
  readonly identity: string;

  constructor(readonly file: OpenFile, readonly faults: Faults) {
    this.identity = file.identity;
  }

  size(): number {
    return this.file.size();
  }

  look(): { size: number; names: number } {
    return this.file.look();
  }

  read(into: Uint8Array, offset: number): number {
    const count = this.file.read(
      into.subarray(0, Math.min(into.length, this.faults.largestRead)),
      offset,
    );
    this.faults.bytesRead += count;
    return count;
  }

  write(bytes: Uint8Array, offset: number): number {
    const { faults } = this;
    faults.writes++;
    const most = Math.min(bytes.length, faults.largestWrite, faults.room);
    if (most === 0) {
      throw Object.assign(
        new Error("No space left on device (os error 28)"),
        { code: "ENOSPC" },
      );
    }
    const count = this.file.write(bytes.subarray(0, most), offset);
    faults.room -= count;
    return count;
  }

  truncate(size: number): void {
    if (this.faults.failTruncate) throw new Error("truncate failed");
    this.file.truncate(size);
  }

  sync(): void {
    this.faults.syncs++;
    if (this.faults.failSync) throw new Error("Input/output error");
    this.file.sync();
  }

  lock(): boolean {
    return this.file.lock();
  }

  unlock(): void {
    this.file.unlock();
  }

  close(): void {
    this.file.close();
  }
}
