/**
 * The checks that every storage makes of what it is to store.
 *
 * @module
 */
import { StorageError } from "../errors.ts";
import { MAX_RECORD_BYTES } from "../serialize/extensions.ts";
import {
  findReference,
  type Oid,
  recordOid,
  type Records,
} from "../serialize/record.ts";
import { isStorableOid } from "./limits.ts";

/**
 * Makes sure that records refer to nothing that is gone. A program may hold on
 * to an object that a pack has removed, for as long as it lives, and put it into
 * another one without ever reading it: no invalidation can stop that.
 *
 * @throws {StorageError} that names the first such reference.
 */
export function checkReferences(
  records: Records,
  isGone: (oid: Oid) => boolean,
): void {
  const isMissing = (oid: Oid) => !records.has(oid) && isGone(oid);
  for (const [oid, record] of records) {
    const gone = findReference(record, isMissing);
    if (gone === undefined) continue;
    throw new StorageError(
      `Cannot commit object #${oid}: it refers to object #${gone}, which nothing referred to and a pack has removed; abort and make that object anew`,
    );
  }
}

/**
 * Checks what is to be committed, and returns it as a map.
 *
 * @throws {StorageError} if a number or a record is none, or one is there twice.
 */
export function checkRecords(
  records: Iterable<readonly [Oid, Uint8Array]>,
): Records {
  const checked = new Map<Oid, Uint8Array>();
  for (const [oid, record] of records) {
    if (!isStorableOid(oid)) {
      throw new StorageError(
        `Cannot commit object #${oid}: an object's number is an integer from 0 to 2^53 - 2`,
      );
    }
    const inside = ownOid(oid, record);
    if (inside !== oid) {
      throw new StorageError(
        `Cannot commit object #${oid}: its record is of object #${inside}`,
      );
    }
    if (record.length > MAX_RECORD_BYTES) {
      throw new StorageError(
        `Cannot commit object #${oid}: its record has ${record.length} bytes, and ${MAX_RECORD_BYTES} are the most`,
      );
    }
    if (checked.has(oid)) {
      throw new StorageError(
        `Cannot commit object #${oid}: there are two records of it`,
      );
    }
    checked.set(oid, record);
  }
  return checked;
}

// Packing must be able to follow the references of whatever was stored.
function ownOid(oid: Oid, record: Uint8Array): Oid {
  try {
    findReference(record, () => false);
    return recordOid(record);
  } catch (error) {
    throw new StorageError(
      `Cannot commit object #${oid}: its record is not well-formed`,
      { cause: error },
    );
  }
}
