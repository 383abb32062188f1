/**
 * Which of the files beside a journal are its own: what an interrupted pack has
 * left, and the state before an earlier pack. Everything else is somebody's,
 * and stays.
 *
 * @module
 */
import { equalBytes } from "../../serialize/bytes.ts";
import { StorageError } from "../../errors.ts";
import { type Files, type OpenFile, readFully } from "../../files/file.ts";
import { describeHolder } from "../../files/lock.ts";
import {
  decodeHeader,
  type Header,
  HEADER_SIZE,
  isUnfinishedHeader,
  startsWithMagic,
} from "./format.ts";

/** A file beside a journal, which is in the way unless it is the journal's own. */
export interface Beside {
  readonly path: string;
  /** What to call the journal in messages. */
  readonly name: string;
  /** What is in the journal's header. */
  readonly header: Header;
}

/**
 * Removes what an interrupted pack of the journal has left.
 *
 * @throws {StorageError} if it is anything else.
 */
export function removeLeftover(files: Files, beside: Beside): void {
  withFile(files, beside, (file) => {
    const header = headerOf(file);
    const { name, path } = beside;
    if (header !== "empty" && !(header?.packing && isSame(header, beside))) {
      throw new StorageError(
        `Cannot pack ${name}: the file ${path} is in the way, which no interrupted pack of it has left; move it away`,
      );
    }
    files.remove(path);
  });
}

/**
 * Makes sure that a file is the state before an earlier pack of the journal,
 * and removes it if that is wanted.
 *
 * @throws {StorageError} if it is anything else.
 */
export function checkPrepack(
  files: Files,
  beside: Beside,
  { remove }: { remove: boolean },
): void {
  withFile(files, beside, (file) => {
    const header = headerOf(file);
    const { name, path } = beside;
    if (header === "empty" || header === undefined || !isSame(header, beside)) {
      throw new StorageError(
        `Cannot pack ${name} and keep the old file: the file ${path} is in the way, which is no earlier state of it; move it away`,
      );
    }
    if (remove) files.remove(path);
  });
}

/** Does something with the file, if there is one, while nobody else can write to it. */
function withFile(
  files: Files,
  { path, name }: Beside,
  act: (file: OpenFile) => void,
): void {
  if (files.identity(path) === undefined) return;
  const file = files.open(path, { write: true });
  try {
    if (!file.lock()) {
      throw new StorageError(
        `Cannot pack ${name}: the file ${path} is in the way, which ${
          describeHolder(file.identity)
        } has open`,
      );
    }
    if (files.identity(path) === file.identity) act(file);
  } finally {
    file.close();
  }
}

/** Returns a journal's header, or `undefined` if the file is no journal. */
function headerOf(
  file: OpenFile,
): (Header & { good: boolean }) | "empty" | undefined {
  const bytes = new Uint8Array(HEADER_SIZE);
  const start = bytes.subarray(0, readFully(file, bytes, 0));
  if (file.size() === start.length && isUnfinishedHeader(start)) return "empty";
  if (start.length < HEADER_SIZE || !startsWithMagic(start)) return undefined;
  const header = decodeHeader(start);
  return header.good ? header : undefined;
}

function isSame(header: Header, { header: { database } }: Beside): boolean {
  return equalBytes(database, header.database);
}
