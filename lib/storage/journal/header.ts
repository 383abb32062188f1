/**
 * The header in the file of a journal: reading it, and changing parts of it in
 * place.
 *
 * @module
 */
import { DamagedFileError } from "../../errors.ts";
import { type OpenFile, readFully, writeFully } from "../../files/file.ts";
import {
  checkMagic,
  decodeHeader,
  decodePointer,
  encodeHeader,
  type Header,
  HEADER_SIZE,
  OWN_IDENTITY,
  POINTER_SIZE,
  POINTERS,
  withNewIdentity,
} from "./format.ts";

/**
 * Returns the header of a journal, `undefined` if the file is empty.
 *
 * @throws {StorageError} if it is not a journal.
 */
export function readHeader(
  file: OpenFile,
  name: string,
): Header | undefined {
  const start = new Uint8Array(HEADER_SIZE);
  const count = readFully(file, start, 0);
  if (count === 0) return undefined;
  checkMagic(start.subarray(0, count), name);
  const header = decodeHeader(start);
  if (header.good && count === HEADER_SIZE) return header;
  throw new DamagedFileError(
    `Cannot read ${name}: its header is damaged`,
    { path: name, offset: 0 },
  );
}

/** Returns the furthest place that the pointers lead to, which was there when they were written. */
export function pointersLeadTo(file: OpenFile): number {
  const start = new Uint8Array(HEADER_SIZE);
  readFully(file, start, 0);
  return Math.max(
    ...POINTERS.map((at) => decodePointer(start.subarray(at))?.offset ?? 0),
  );
}

/**
 * Takes the pointers away: they may lead to what the file does not have, and
 * without them whoever opens it looks at every block.
 */
export function clearPointers(file: OpenFile): void {
  for (const at of POINTERS) writeFully(file, new Uint8Array(POINTER_SIZE), at);
}

/** Gives a file that holds an earlier state of a database an identity of its own. */
export function renewIdentity(file: OpenFile, name: string): void {
  const header = readHeader(file, name);
  if (header !== undefined) writeOwnIdentity(file, withNewIdentity(header));
}

/** Writes the part of a header that says that the file has an identity of its own. */
export function writeOwnIdentity(file: OpenFile, header: Header): void {
  const { from, to } = OWN_IDENTITY;
  writeFully(file, encodeHeader(header).subarray(from, to), from);
}
