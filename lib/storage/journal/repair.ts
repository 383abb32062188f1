/**
 * What a repair changes in a journal, and how it saves beside it what it cuts
 * off.
 *
 * @module
 */
import {
  type Files,
  type OpenFile,
  readFully,
  writeFully,
} from "../../files/file.ts";
import { READ_PIECE } from "./chunk_reader.ts";

/** What opening a file with `repair` has changed in it. */
export interface Repair {
  /**
   * What was done: damage and what followed was cut off (`cut`), a transaction
   * that was never confirmed was cut off (`unfinished`), the index or the
   * header was written anew.
   */
  readonly kind: "cut" | "unfinished" | "index" | "header";
  /** Where, in bytes from the beginning of the file. */
  readonly offset: number;
  /** How many bytes were cut off, 0 if none were. */
  readonly bytes: number;
  /** The file that holds what was cut off. */
  readonly saved?: string;
}

/** A damaged journal. */
export interface Damaged {
  readonly files: Files;
  readonly file: OpenFile;
  /** The real path of the file. */
  readonly path: string;
  /** What to call it. */
  readonly name: string;
}

/**
 * Copies a part of a journal to a new file beside it, with the same access, and
 * returns where that is. It is on the disk then.
 */
export function saveTail(
  { files, file, path, name }: Damaged,
  from: number,
  to: number,
): string {
  for (let attempt = 0;; attempt++) {
    const saved = tailPath(name, from, attempt);
    if (files.identity(saved) !== undefined) continue;
    const tail = files.open(saved, { write: true, createNew: true });
    try {
      files.copyAccess(path, saved);
      for (let at = from; at < to; at += READ_PIECE) {
        const bytes = new Uint8Array(Math.min(READ_PIECE, to - at));
        const count = readFully(file, bytes, at);
        writeFully(tail, bytes.subarray(0, count), at - from);
      }
      tail.sync();
      files.syncDirectory(saved);
    } catch (error) {
      try {
        // A part of it is of no use: everything is still in the file.
        files.remove(saved);
      } catch {
        // What went wrong first says more.
      }
      throw error;
    } finally {
      tail.close();
    }
    return saved;
  }
}

/** Returns where a part of a journal is saved, at the first attempt or a later one. */
export function tailPath(
  path: string,
  offset: number,
  attempt: number,
): string {
  return `${path}.tail-${offset}${attempt === 0 ? "" : `-${attempt}`}`;
}
