/**
 * A record is one object's stored bytes: 8 bytes oid, 4 bytes length of the
 * data, the data, then 8 bytes for each oid it refers to; integers are
 * big-endian. The server and `pack` need the oid and the references only, and
 * never look into the data.
 *
 * @module
 */
import { setUint64, viewOf } from "./bytes.ts";
import { DecodeError } from "../errors.ts";

/** A persistent object's number, 0 for the root: an integer from 0 to 2^53 - 1. */
export type Oid = number;

/** The root object's number. */
export const ROOT_OID: Oid = 0;

const HEADER = 12;

/**
 * Reads an oid from 8 bytes at `offset`.
 *
 * @throws {DecodeError} if it is 2^53 or more.
 */
export function readOid(bytes: DataView, offset: number): Oid {
  const high = bytes.getUint32(offset);
  if (high >= 0x200000) {
    throw new DecodeError(
      `Cannot read oid: ${bytes.getBigUint64(offset)} is 2^53 or more`,
    );
  }
  return high * 0x100000000 + bytes.getUint32(offset + 4);
}

/** Writes an oid as 8 bytes at `offset`. */
export function writeOid(bytes: DataView, offset: number, oid: Oid): void {
  setUint64(bytes, offset, oid);
}

/** Whether a value can be the number of an object. */
export function isOid(value: unknown): value is Oid {
  return Number.isSafeInteger(value) && value as number >= 0;
}

/** The records of one transaction, each object once. */
export type Records = ReadonlyMap<Oid, Uint8Array>;

/** Makes a record of an object's data and the numbers of the objects it refers to. */
export function packRecord(
  oid: Oid,
  data: Uint8Array,
  references: readonly Oid[],
): Uint8Array {
  const record = new Uint8Array(HEADER + data.length + 8 * references.length);
  const bytes = viewOf(record);
  writeOid(bytes, 0, oid);
  bytes.setUint32(8, data.length);
  record.set(data, HEADER);
  let offset = HEADER + data.length;
  for (const reference of references) {
    writeOid(bytes, offset, reference);
    offset += 8;
  }
  return record;
}

function uint32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24 | bytes[at + 1]! << 16 | bytes[at + 2]! << 8 |
    bytes[at + 3]!) >>> 0;
}

// Without a DataView, which is expensive to make for one record.
function oidAt(bytes: Uint8Array, at: number): Oid {
  const high = uint32(bytes, at);
  return high < 0x200000
    ? high * 0x100000000 + uint32(bytes, at + 4)
    : readOid(viewOf(bytes), at);
}

/**
 * Returns where a record's data ends; it begins at byte 12.
 *
 * @throws {DecodeError} if the record is not well-formed.
 */
export function recordDataEnd(record: Uint8Array): number {
  if (record.length < HEADER) {
    throw new DecodeError(
      `Cannot read record: it has ${record.length} bytes, ${HEADER} are the least`,
    );
  }
  const end = HEADER + uint32(record, 8);
  if (end > record.length || (record.length - end) % 8 !== 0) {
    throw new DecodeError(
      `Cannot read record: ${record.length} bytes do not fit ${
        end - HEADER
      } bytes of data and whole references`,
    );
  }
  return end;
}

/**
 * Returns the number of the object that a record is of.
 *
 * @throws {DecodeError} if the record is not well-formed.
 */
export function recordOid(record: Uint8Array): Oid {
  recordDataEnd(record);
  return oidAt(record, 0);
}

/**
 * Returns a record's data, as a view of the same bytes.
 *
 * @throws {DecodeError} if the record is not well-formed.
 */
export function recordData(record: Uint8Array): Uint8Array {
  return record.subarray(HEADER, recordDataEnd(record));
}

/**
 * Returns the first number among a record's references that passes a test.
 *
 * @throws {DecodeError} if the record is not well-formed.
 */
export function findReference(
  record: Uint8Array,
  test: (oid: Oid) => boolean,
): Oid | undefined {
  for (let at = recordDataEnd(record); at < record.length; at += 8) {
    const oid = oidAt(record, at);
    if (test(oid)) return oid;
  }
  return undefined;
}

/**
 * Returns the numbers of the objects that a record refers to.
 *
 * @throws {DecodeError} if the record is not well-formed.
 */
export function recordReferences(record: Uint8Array): Oid[] {
  const references: Oid[] = [];
  for (let at = recordDataEnd(record); at < record.length; at += 8) {
    references.push(oidAt(record, at));
  }
  return references;
}
