/**
 * The bytes of a commit, as protocol 1 sends them: for each record the length
 * of what follows (4 bytes), the oid, and the record, which begins with the
 * same oid.
 *
 * @module
 */
import { viewOf } from "../serialize/bytes.ts";
import { ProtocolError } from "../errors.ts";
import {
  findReference,
  type Oid,
  readOid,
  recordOid,
  type Records,
} from "../serialize/record.ts";

/**
 * Takes the bytes of a commit apart. The records are views of the same bytes.
 *
 * @throws {ProtocolError} if the bytes are not whole records of the objects
 * that they are said to be of, or name an object twice.
 * @throws {DecodeError} if a record is not well-formed.
 */
export function parseTransaction(bytes: Uint8Array): Records {
  const records = new Map<Oid, Uint8Array>();
  for (const [oid, record] of takeApart(bytes)) {
    const inside = recordOid(record);
    if (inside !== oid) {
      throw new ProtocolError(
        `Cannot commit object #${oid}: its record is of object #${inside}`,
      );
    }
    // `pack` will follow its references.
    findReference(record, () => false);
    if (records.has(oid)) {
      throw new ProtocolError(
        `Cannot commit object #${oid}: there are two records of it`,
      );
    }
    records.set(oid, record);
  }
  return records;
}

function* takeApart(bytes: Uint8Array): Generator<[Oid, Uint8Array]> {
  const view = viewOf(bytes);
  let at = 0;
  while (at < bytes.length) {
    const end = at + 12 <= bytes.length ? at + 4 + view.getUint32(at) : 0;
    if (end < at + 12 || end > bytes.length) {
      throw new ProtocolError(
        `Cannot take the commit: there is no whole record at byte ${at}`,
      );
    }
    yield [readOid(view, at + 4), bytes.subarray(at + 12, end)];
    at = end;
  }
}

/** Returns how many bytes a commit of these records has. */
export function transactionLength(records: Records): number {
  let length = 0;
  for (const record of records.values()) length += 12 + record.length;
  return length;
}
