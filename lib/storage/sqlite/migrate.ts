/**
 * Brings a SQLite file with the tables of version 1 or 2 up to date. The first
 * had no checksums but of the records, and nothing that says which revision is
 * the newest but the revisions themselves. The second had no identity.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { type Oid, recordOid, ROOT_OID } from "../../serialize/record.ts";
import type { Row, Sql } from "./library.ts";
import { CREATE, CREATE_IDENTITY, VERSION } from "./schema.ts";
import {
  addIdentity,
  changesChecksum,
  objectChecksum,
  packOids,
  revisionChecksum,
  type State,
  stateChecksum,
} from "./rows.ts";
import type { Tid } from "../storage.ts";

/** Rows that are read at once. */
const BATCH = 500;

/** Makes the new tables out of the old ones, in a transaction of SQLite. */
export function migrate(database: Sql, version: number): void {
  if (version === 1) rebuild(database);
  else database.exec(CREATE_IDENTITY);
  addIdentity(database);
  database.exec(`PRAGMA user_version = ${VERSION}`);
}

function rebuild(database: Sql): void {
  const old = database.get(
    `SELECT next, tid, cut, forgotten,
    (SELECT max(oid) FROM revision) AS lastOid,
    (SELECT max(tid) FROM revision) AS lastTid,
    EXISTS (SELECT 1 FROM revision WHERE oid = ?) AS root FROM dhara`,
    ROOT_OID,
  ) as unknown as State & { lastOid: Oid | null; lastTid: Tid | null };
  if (old === undefined) throw database.damaged("the table dhara is empty");
  const state = { ...old };
  if (Number.isNaN(stateChecksum(state))) {
    throw database.damaged("its last transaction or its numbers cannot be");
  }
  if (state.lastOid !== null && state.lastOid >= state.next) {
    throw database.damaged(
      `it holds object #${state.lastOid}, and says that numbers from ${state.next} on are free`,
    );
  }
  if (state.lastTid !== null && state.lastTid > state.tid) {
    throw database.damaged(
      `it says that its last transaction is ${state.tid}, and holds one of ${state.lastTid}`,
    );
  }
  database.exec(`
    ALTER TABLE dhara RENAME TO dhara_1;
    ALTER TABLE revision RENAME TO revision_1;
    ${CREATE.replace("revision_by_object ON", "revision_by_object_2 ON")}
    DROP TABLE dhara_1;
  `);
  addRevisions(database);
  addChanges(database, state);
  database.run(
    "INSERT INTO dhara VALUES (0, ?, ?, ?, ?, ?, ?)",
    state.next,
    state.tid,
    state.cut,
    state.forgotten,
    state.root,
    stateChecksum(state),
  );
  database.exec(`
    DROP TABLE revision_1;
    DROP INDEX revision_by_object_2;
    CREATE UNIQUE INDEX revision_by_object ON revision (oid, tid);
  `);
}

/** Goes through rows in the order of two columns. */
function* inOrder(
  database: Sql,
  first: string,
  second: string,
): Generator<Row> {
  for (let a = -1, b = -1;;) {
    const rows = database.all(
      `SELECT oid, tid, crc, record FROM revision_1
      WHERE (${first}, ${second}) > (?, ?) ORDER BY ${first}, ${second} LIMIT ?`,
      a,
      b,
      BATCH,
    );
    if (rows.length === 0) return;
    yield* rows;
    a = rows.at(-1)![first] as number;
    b = rows.at(-1)![second] as number;
  }
}

function addRevisions(database: Sql): void {
  let id = 0;
  let last: { oid: Oid; tid: Tid; revision: number } | undefined;
  const addObject = () => {
    if (last === undefined) return;
    const { oid, tid, revision } = last;
    database.run(
      "INSERT INTO object VALUES (?, ?, ?, ?)",
      oid,
      tid,
      revision,
      objectChecksum(oid, tid, revision),
    );
  };
  for (const row of inOrder(database, "oid", "tid")) {
    const { oid, tid, crc, record } = row as Record<string, number>;
    const before = last?.oid === oid ? last!.tid : 0;
    if (before === 0) addObject();
    const good = row["record"] === null ||
      row["record"] instanceof Uint8Array && crc32(row["record"]) === crc &&
        isOf(oid!, row["record"]);
    const sum = revisionChecksum(oid!, tid!, before, record);
    database.run(
      "INSERT INTO revision VALUES (?, ?, ?, ?, ?, ?)",
      ++id,
      oid!,
      tid!,
      before,
      // What was damaged stays so.
      good ? sum : (sum ^ 1) >>> 0,
      row["record"]!,
    );
    const revision = row["record"] === null ? 0 : id;
    last = { oid: oid!, tid: tid!, revision };
  }
  addObject();
}

function isOf(oid: Oid, record: Uint8Array): boolean {
  try {
    return recordOid(record) === oid;
  } catch {
    return false;
  }
}

function addChanges(database: Sql, state: State): void {
  let before: Tid = 0;
  let tid: Tid = -1;
  let oids: Oid[] = [];
  let removed = 0;
  const add = () => {
    const bytes = packOids(oids);
    database.run(
      "INSERT INTO changes VALUES (?, ?, ?, ?, ?)",
      tid,
      before,
      removed,
      changesChecksum(tid, before, removed, bytes),
      bytes,
    );
    before = tid;
  };
  for (const row of inOrder(database, "tid", "oid")) {
    if (row["tid"] !== tid) {
      if (tid >= 0) add();
      tid = row["tid"] as Tid;
      oids = [];
      removed = row["record"] === null ? 1 : 0;
    }
    oids.push(row["oid"] as Oid);
  }
  if (tid >= 0) add();
  if (tid >= state.tid || state.tid === 0) return;
  // What the last transaction has changed is gone, yet it was the last one.
  [tid, oids, removed] = [state.tid, [], 0];
  add();
}
