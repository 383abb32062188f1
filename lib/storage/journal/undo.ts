/**
 * What it takes to undo a transaction of a journal.
 *
 * @module
 */
import { equalBytes } from "../../serialize/bytes.ts";
import { StorageError, UndoError } from "../../errors.ts";
import type { Oid } from "../../serialize/record.ts";
import type { Journal } from "./journal.ts";
import {
  entriesOf,
  findTransaction,
  oldestMoment,
  type PlacedRevision,
} from "./history.ts";
import { describeTid, tidOf } from "../moment.ts";
import type { Tid } from "../storage.ts";

/** So many objects and transactions are named in a message. */
const MOST_NAMED = 3;

/** Returns the records that take a transaction back. */
export function recordsBefore(
  journal: Journal,
  tid: Tid,
): [Oid, Uint8Array][] {
  tidOf(tid);
  const what = `Cannot undo transaction ${tid} of ${journal.name}`;
  const head = findTransaction(journal, tid);
  if (head === undefined) {
    const oldest = oldestMoment(journal);
    throw new StorageError(
      tid > oldest
        ? `${what}: there is no such transaction`
        : `${what}: a pack has dropped what was there before ${
          describeTid(oldest)
        }`,
    );
  }
  const records: [Oid, Uint8Array][] = [];
  const oids: Oid[] = [];
  const later = new Set<Tid>();
  for (const entry of entriesOf(journal, head)) {
    const tids = changesSince(journal, entry);
    if (tids.length > 0) {
      oids.push(entry.oid);
      for (const tid of tids) later.add(tid);
    }
    // An object that the transaction has made has nothing before.
    if (entry.previous === 0 || later.size > 0) continue;
    const { record } = journal.entry(entry.previous, entry.oid);
    records.push([entry.oid, record]);
  }
  if (later.size > 0) {
    const tids = [...later].sort((a, b) => b - a);
    throw new UndoError(
      `${what}: ${
        name(oids, (oid) => `object #${oid}`)
      } was changed later, by transaction ${
        name(tids, describeTid)
      }; undo what came later first`,
      { oids, tids },
    );
  }
  if (records.length === 0) {
    throw new StorageError(
      `${what}: it has made all of its objects, so there is nothing to go back to`,
    );
  }
  return records;
}

/** Returns which transactions have changed an object since, none if they have changed it back. */
function changesSince(journal: Journal, entry: PlacedRevision): Tid[] {
  const { oid } = entry;
  const tids: Tid[] = [];
  let newest: Uint8Array | undefined;
  let offset = journal.offsetOf(oid);
  while (offset > entry.offset) {
    const { tid, record, previous } = journal.entry(offset, oid);
    newest ??= record;
    tids.push(tid);
    offset = previous;
  }
  const same = newest === undefined || equalBytes(newest, entry.record);
  return same ? [] : tids;
}

function name<T>(items: readonly T[], describe: (item: T) => string): string {
  const names = items.slice(0, MOST_NAMED).map(describe).join(", ");
  const more = items.length - MOST_NAMED;
  return more > 0 ? `${names} and ${more} more` : names;
}
