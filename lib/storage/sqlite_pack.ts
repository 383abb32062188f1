/**
 * Packs a SQLite file in place, while other processes go on using it.
 *
 * @module
 */
import { type Oid, recordReferences, ROOT_OID } from "../serialize/record.ts";
import { nextTid } from "./local_session.ts";
import { OidQueue } from "./oid_queue.ts";
import { OidSet } from "./oid_set.ts";
import type { SqliteDatabase } from "./sqlite_database.ts";
import type { PackProgress, Tid } from "./storage.ts";

/** What a pack needs of the storage. */
export interface PackedStorage {
  /** Returns an object's newest record; `null` if it was removed, `undefined` if there is none. */
  newest(oid: Oid): Uint8Array | null | undefined;
  /** Returns the oldest moment that a session reads, at most `newest`. */
  oldest(newest: Tid): Tid;
}

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
 * other change. After that the revisions that nobody reads are deleted, in steps.
 */
export function* packSqlite(
  database: SqliteDatabase,
  storage: PackedStorage,
): Generator<PackProgress, void> {
  const seen = new OidSet();
  const queue = new OidQueue();
  let records = 0;
  let bytes = 0;
  let looked = newestTid(database);
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
      const record = storage.newest(oid);
      // A reference may lead nowhere, as it did before.
      if (!record) continue;
      records++;
      bytes += record.length;
      recordReferences(record).forEach(add);
    }
    return queue.isEmpty;
  }

  // What was committed meanwhile is looked at, or looked at again.
  function addChanges(): boolean {
    const rows = database.all(
      "SELECT d.tid, r.oid FROM dhara d LEFT JOIN revision r ON r.tid > ?",
      looked,
    );
    looked = rows[0]!["tid"] as Tid;
    // When commits bring more than a step reads, only longer steps come to an end.
    longer *= 2;
    const oids = new Set(rows.map(({ oid }) => oid as Oid | null));
    oids.delete(null);
    for (const oid of oids as Set<Oid>) {
      seen.add(oid);
      queue.push(oid);
    }
    return oids.size > 0;
  }

  add(ROOT_OID);
  do {
    while (!step()) yield { records, bytes };
  } while (addChanges());

  const unseen: Oid[] = [];
  for (let last = -1;;) {
    const rows = database.all(
      "SELECT DISTINCT oid FROM revision WHERE oid > ? ORDER BY oid LIMIT ?",
      last,
      STEP_REVISIONS,
    );
    for (const row of rows) {
      const oid = last = row["oid"] as Oid;
      if (!seen.has(oid) && storage.newest(oid)) unseen.push(oid);
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
    const removed = unseen.filter((oid) => !seen.has(oid));
    const tid = removed.length > 0 ? nextTid(looked) : looked;
    // In one statement, since everybody waits for this transaction.
    database.run(
      "INSERT INTO revision (oid, tid, crc, record) SELECT value, ?, 0, NULL FROM json_each(?)",
      tid,
      JSON.stringify(removed),
    );
    const cut = storage.oldest(tid);
    database.run("UPDATE dhara SET tid = ?, cut = max(cut, ?)", tid, cut);
    return cut;
  });
  yield { records, bytes };

  for (const _ of clear(database, cut)) yield { records, bytes };
}

function newestTid(database: SqliteDatabase): Tid {
  return database.get("SELECT tid FROM dhara")!["tid"] as Tid;
}

/** Deletes what no snapshot from `cut` on shows, and gives the room back to the disk. */
function* clear(database: SqliteDatabase, cut: Tid): Generator<void> {
  for (let from = 0;;) {
    const last = database.get(
      "SELECT oid FROM revision WHERE oid >= ? ORDER BY oid LIMIT 1 OFFSET ?",
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
  yield* forget(database, Math.min(cut, Date.now() * 1000 - REMEMBERED));
  yield* shrink(database);
}

/** Deletes the last trace of objects that were removed until a moment. */
function* forget(database: SqliteDatabase, until: Tid): Generator<void> {
  const latest = database.get(
    "SELECT max(tid) AS tid FROM revision WHERE record IS NULL AND tid <= ?",
    until,
  )!["tid"] as Tid | null;
  if (latest === null) return;
  database.write(() =>
    database.run("UPDATE dhara SET forgotten = max(forgotten, ?)", latest)
  );
  for (;;) {
    const rows = database.all(
      `SELECT rowid AS id FROM revision WHERE record IS NULL AND tid <= ?
      AND NOT EXISTS (SELECT 1 FROM revision AS other WHERE other.oid =
      revision.oid AND other.tid < revision.tid) LIMIT ?`,
      latest,
      STEP_REVISIONS,
    );
    if (rows.length === 0) return;
    database.write(() => {
      for (const { id } of rows) {
        database.run("DELETE FROM revision WHERE rowid = ?", id!);
      }
    });
    yield;
  }
}

function* shrink(database: SqliteDatabase): Generator<void> {
  const free = () =>
    database.get("PRAGMA freelist_count")!["freelist_count"] as number;
  for (let before = free(); before > 0;) {
    database.pragma(`PRAGMA incremental_vacuum(${STEP_PAGES})`);
    yield;
    const after = free();
    if (after >= before) break;
    before = after;
  }
  // The file gets shorter when the log has been taken over.
  database.pragma("PRAGMA wal_checkpoint(PASSIVE)");
}
