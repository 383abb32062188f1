/**
 * The bytes of a commit, as protocol 1 sends them: for each record the length
 * of what follows (4 bytes), the oid, and the record, which begins with the
 * same oid.
 *
 * @module
 */
import { ProtocolError } from "../errors.ts";
import {
  type Oid,
  readOid,
  recordOid,
  recordReferences,
} from "../serialize/record.ts";

/**
 * Takes the bytes of a commit apart. The records are views of the same bytes.
 * Each is checked to be a whole record of the object it is said to be of,
 * since `pack` will follow its references.
 *
 * @throws {ProtocolError} if the bytes are not whole records, or name an object twice.
 * @throws {DecodeError} if a record is not well-formed.
 */
export function parseTransaction(bytes: Uint8Array): Map<Oid, Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const records = new Map<Oid, Uint8Array>();
  let at = 0;
  while (at < bytes.length) {
    if (at + 12 > bytes.length) throw broken(at);
    const end = at + 4 + view.getUint32(at);
    if (end < at + 12 || end > bytes.length) throw broken(at);
    const oid = readOid(view, at + 4);
    const record = bytes.subarray(at + 12, end);
    const inside = recordOid(record);
    if (inside !== oid) {
      throw new ProtocolError(
        `Cannot take the commit: the record for #${oid} is one of #${inside}`,
      );
    }
    recordReferences(record);
    if (records.has(oid)) {
      throw new ProtocolError(
        `Cannot take the commit: it has two records for #${oid}`,
      );
    }
    records.set(oid, record);
    at = end;
  }
  return records;
}

function broken(at: number): ProtocolError {
  return new ProtocolError(
    `Cannot take the commit: there is no whole record at byte ${at}`,
  );
}

/** Returns how many bytes a commit of these records has. */
export function transactionLength(
  records: readonly (readonly [Oid, Uint8Array])[],
): number {
  let length = 0;
  for (const [, record] of records) length += 12 + record.length;
  return length;
}
