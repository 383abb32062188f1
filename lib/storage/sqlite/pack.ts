/**
 * Packs a SQLite file in place, while other processes go on using it.
 *
 * @module
 */
import {
  type Oid,
  recordReferences,
  ROOT_OID,
} from "../../serialize/record.ts";
import { LARGEST_OID } from "../limits.ts";
import { now } from "../moment.ts";
import { OidQueue } from "../oid_queue.ts";
import { OidSet } from "../oid_set.ts";
import type { SqliteDatabase } from "./database.ts";
import type { Row } from "./library.ts";
import { unpackOids } from "./rows.ts";
import type { Removal, SqliteTables } from "./tables.ts";
import type { Progress, Tid } from "../storage.ts";

/** A step ends after this many bytes or records: some milliseconds. */
const STEP_BYTES = 256 * 1024;
const STEP_RECORDS = 500;
/** So many revisions are looked at in one step of clearing up. */
const STEP_REVISIONS = 2000;
const STEP_PAGES = 500;
/**
 * How long it is remembered that an object was removed, in microseconds: a
 * session that does not move for longer than this must be opened again.
 */
const REMEMBERED = 7 * 24 * 60 * 60 * 1e6;

/**
 * Packs. First it finds what can be reached, in steps, while others commit.
 * Then, in one transaction, whatever cannot be reached gets a last revision
 * without a record: it is removed, and every session learns of it as of any
 * other change. After that the revisions that nobody reads are deleted, in
 * steps. `oldest` returns the oldest moment that must stay readable, at most
 * the one that it is given.
 */
export function* packSqlite(
  database: SqliteDatabase,
  tables: SqliteTables,
  oldest: (newest: Tid) => Tid,
): Generator<Progress, void> {
  const seen = new OidSet();
  const queue = new OidQueue();
  let records = 0;
  let bytes = 0;
  let { tid: looked, root } = tables.state();
  let longer = 1;

  function add(oid: Oid): void {
    if (seen.add(oid)) queue.push(oid);
  }

  // Follows references until the step is over; returns whether none is left.
  function step(): boolean {
    const mostRecords = records + longer * STEP_RECORDS;
    const mostBytes = bytes + longer * STEP_BYTES;
    while (records < mostRecords && bytes < mostBytes) {
      const oid = queue.shift();
      if (oid === undefined) return true;
      const record = tables.read(oid, LARGEST_OID);
      // A reference may lead nowhere, as it did before.
      if (!(record instanceof Uint8Array)) {
        if (oid === ROOT_OID && root === 1) throw noRoot();
        continue;
      }
      records++;
      bytes += record.length;
      recordReferences(record).forEach(add);
    }
    return queue.isEmpty;
  }

  // Without it everything would be garbage.
  function noRoot() {
    return database.damaged("its root is not there, though there was one");
  }

  // What was committed meanwhile is looked at, or looked at again.
  function addChanges(): boolean {
    const { state, changed } = tables.news(looked);
    ({ tid: looked, root } = state);
    // When commits bring more than a step reads, only longer steps come to an end.
    longer *= 2;
    for (const oid of changed) {
      seen.add(oid);
      queue.push(oid);
    }
    return changed.length > 0;
  }

  add(ROOT_OID);
  do {
    while (!step()) yield { records, bytes };
  } while (addChanges());

  const unseen: Removal[] = [];
  for (let last = -1;;) {
    const rows = database.all(
      "SELECT oid FROM object WHERE oid > ? ORDER BY oid LIMIT ?",
      last,
      STEP_REVISIONS,
    );
    for (const row of rows) {
      const oid = last = row["oid"] as Oid;
      if (seen.has(oid)) continue;
      const place = tables.place(oid);
      if (place?.revision) unseen.push({ oid, tid: place.tid });
    }
    // New objects come at the end, and need not be looked at.
    if (rows.length < STEP_REVISIONS) break;
    yield { records, bytes };
  }
  while (addChanges()) while (!step()) yield { records, bytes };

  const cut = database.write(() => {
    // The last time: nobody commits while this transaction runs.
    addChanges();
    while (!step());
    const removed = unseen.filter(({ oid }) => !seen.has(oid));
    if (removed.length > 0) tables.remove(tables.state(), removed);
    const state = tables.state();
    const cut = Math.max(state.cut, oldest(state.tid));
    tables.setState({ ...state, cut });
    return cut;
  });
  yield { records, bytes };

  for (const _ of clear(database, tables, cut)) yield { records, bytes };
}

/** Deletes what no snapshot from `cut` on shows, and gives the room back to the disk. */
function* clear(
  database: SqliteDatabase,
  tables: SqliteTables,
  cut: Tid,
): Generator<void> {
  for (let from = 0;;) {
    const last = database.get(
      "SELECT oid FROM object WHERE oid >= ? ORDER BY oid LIMIT 1 OFFSET ?",
      from,
      STEP_REVISIONS,
    );
    // All revisions of an object go in one transaction, or a snapshot could
    // show an older one in place of one that is gone.
    const to = last === undefined ? Number.MAX_SAFE_INTEGER : last["oid"]!;
    database.write(() =>
      database.run(
        `DELETE FROM revision WHERE oid >= ? AND oid <= ? AND tid < ?
        AND EXISTS (SELECT 1 FROM revision AS later WHERE later.oid =
        revision.oid AND later.tid > revision.tid AND later.tid <= ?)`,
        from,
        to,
        cut,
        cut,
      )
    );
    yield;
    if (last === undefined) break;
    from = to as number + 1;
  }
  yield* forget(database, tables, Math.min(cut, now() - REMEMBERED));
  yield* shrink(database);
}

/** Deletes what says that objects were changed or removed until a moment. */
function* forget(
  database: SqliteDatabase,
  tables: SqliteTables,
  until: Tid,
): Generator<void> {
  for (;;) {
    const rows = database.all(
      "SELECT tid, removed, CASE removed WHEN 1 THEN oids END AS oids FROM changes WHERE tid <= ? ORDER BY tid LIMIT ?",
      until,
      STEP_REVISIONS,
    );
    if (rows.length === 0) return;
    const first = rows.findIndex(({ removed }) => removed === 1);
    const last = rows.at(first < 0 ? -1 : first)!;
    database.write(() =>
      tables.setState({ ...tables.state(), forgotten: last["tid"] as Tid })
    );
    yield* forgetRemoved(database, tables, last);
    database.write(() =>
      database.run("DELETE FROM changes WHERE tid <= ?", last["tid"]!)
    );
    yield;
  }
}

/** Deletes the last trace of the objects that a transaction has removed. */
function* forgetRemoved(
  database: SqliteDatabase,
  tables: SqliteTables,
  { tid, oids }: Row,
): Generator<void> {
  if (!(oids instanceof Uint8Array)) return;
  const removed = unpackOids(oids);
  for (let from = 0; from < removed.length; from += STEP_REVISIONS) {
    database.write(() => {
      for (const oid of removed.slice(from, from + STEP_REVISIONS)) {
        // It may have been stored again.
        if (tables.place(oid)?.tid !== tid) continue;
        database.run("DELETE FROM object WHERE oid = ?", oid);
        database.run("DELETE FROM revision WHERE oid = ?", oid);
      }
    });
    yield;
  }
}

function* shrink(database: SqliteDatabase): Generator<void> {
  const free = () =>
    database.get("PRAGMA freelist_count")!["freelist_count"] as number;
  for (let before = free(); before > 0;) {
    database.exec(`PRAGMA incremental_vacuum(${STEP_PAGES})`);
    yield;
    const after = free();
    if (after >= before) break;
    before = after;
  }
  // The file gets shorter when the log has been taken over.
  database.exec("PRAGMA wal_checkpoint(PASSIVE)");
}
