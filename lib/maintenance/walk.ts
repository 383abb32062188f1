/**
 * Goes through everything that can be reached from the root.
 *
 * @module
 */
import { ObjectNotFoundError } from "../errors.ts";
import { type Oid, recordReferences, ROOT_OID } from "../serialize/record.ts";
import { OidQueue } from "../storage/oid_queue.ts";
import { OidSet } from "../storage/oid_set.ts";
import type { Session } from "../storage/storage.ts";

/** So many are loaded at once. */
const BATCH = 256;

/** An object's number and its record. */
export type NumberedRecord = readonly [Oid, Uint8Array];

/**
 * Loads each object that can be reached from the root once, breadth first, in
 * batches. A reference that leads nowhere is passed over.
 */
export function* walk(
  session: Session,
): Generator<readonly NumberedRecord[], void> {
  const seen = new OidSet();
  const queue = new OidQueue();
  seen.add(ROOT_OID);
  queue.push(ROOT_OID);
  while (!queue.isEmpty) {
    const oids: Oid[] = [];
    while (oids.length < BATCH) {
      const oid = queue.shift();
      if (oid === undefined) break;
      oids.push(oid);
    }
    const entries = loadThose(session, oids);
    for (const [, record] of entries) {
      for (const reference of recordReferences(record)) {
        if (seen.add(reference)) queue.push(reference);
      }
    }
    if (entries.length > 0) yield entries;
  }
}

function loadThose(session: Session, oids: readonly Oid[]): NumberedRecord[] {
  try {
    const records = session.loadMany(oids);
    return oids.map((oid, i) => [oid, records[i]!]);
  } catch (error) {
    if (!(error instanceof ObjectNotFoundError)) throw error;
  }
  // One of them is missing: find out which.
  const entries: NumberedRecord[] = [];
  for (const oid of oids) {
    try {
      entries.push([oid, session.load(oid)]);
    } catch (error) {
      if (!(error instanceof ObjectNotFoundError)) throw error;
    }
  }
  return entries;
}
