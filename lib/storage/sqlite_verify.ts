/**
 * Whether a database in SQLite is as it should be.
 *
 * @module
 */
import { statSync } from "node:fs";
import { crc32 } from "node:zlib";
import {
  type Oid,
  recordOid,
  recordReferences,
  ROOT_OID,
} from "../serialize/record.ts";
import { OidQueue } from "./oid_queue.ts";
import { OidSet } from "./oid_set.ts";
import type { Row, SqliteDatabase } from "./sqlite_database.ts";
import type { Tid } from "./storage.ts";
import type { VerifyProgress, VerifyReport } from "./verify.ts";

/** So many findings of a kind are listed. */
const LISTED = 100;
/** Rows that are read at once. */
const BATCH = 500;

/** Reads a whole database in SQLite, in steps. */
export class SqliteVerifier {
  readonly #database: SqliteDatabase;
  readonly #messages: string[] = [];
  #damageCount = 0;
  readonly #dangling: { oid: Oid; from: Oid }[] = [];
  #danglingCount = 0;
  /** Objects that there are, and those of them whose newest record is damaged. */
  readonly #present = new OidSet();
  readonly #unreadable = new OidSet();
  #records = 0;
  #objects = 0;

  constructor(database: SqliteDatabase) {
    this.#database = database;
  }

  /** Verifies; returns what it has found. Nothing that others commit meanwhile is seen. */
  *run(): Generator<VerifyProgress, VerifyReport> {
    const database = this.#database;
    const { path } = database;
    database.run("BEGIN");
    try {
      for (const row of database.all(`PRAGMA integrity_check(${LISTED})`)) {
        const [message] = Object.values(row);
        if (message !== "ok") this.#damage(`SQLite says: ${message}`);
      }
      yield* this.#readRecords();
      const { reachable, unreadable } = yield* this.#follow();
      return {
        path,
        format: "sqlite",
        size: statSync(path).size,
        transactions: database.get(
          "SELECT count(DISTINCT tid) AS n FROM revision",
        )!["n"] as number,
        records: this.#records,
        objects: this.#objects,
        reachable,
        unreachable: this.#objects - reachable,
        unreadable,
        good: this.#damageCount === 0 && this.#danglingCount === 0,
        damage: this.#messages.map((message) => ({ offset: 0, message })),
        damageCount: this.#damageCount,
        dangling: this.#dangling,
        danglingCount: this.#danglingCount,
        notes: [],
      };
    } finally {
      database.run("ROLLBACK");
    }
  }

  #damage(message: string): void {
    if (this.#damageCount++ < LISTED) this.#messages.push(message);
  }

  /** Checks every revision of every object. */
  *#readRecords(): Generator<VerifyProgress> {
    const database = this.#database;
    const { next, tid: newest, total } = database.get(
      "SELECT next, tid, (SELECT count(*) FROM revision) AS total FROM dhara",
    ) as { next: Oid; tid: Tid; total: number };
    let done = 0;
    let oid: Oid = -1;
    let tid: Tid = 0;
    for (;;) {
      const rows = database.all(
        "SELECT oid, tid, crc, record FROM revision WHERE (oid, tid) > (?, ?) ORDER BY oid, tid LIMIT ?",
        oid,
        tid,
        BATCH,
      );
      if (rows.length === 0) return;
      for (const [i, row] of rows.entries()) {
        oid = row["oid"] as Oid;
        tid = row["tid"] as Tid;
        if (tid > newest || oid >= next) {
          this.#damage(
            `object #${oid} has a record of transaction ${tid}, and the file says that the last transaction is ${newest} and the next free number ${next}`,
          );
        }
        // Of each object, the last row that the order gives is the newest.
        const following = rows[i + 1] ?? this.#after(oid, tid);
        this.#check(oid, tid, row, following?.["oid"] !== oid);
      }
      done += rows.length;
      yield { phase: "journal", done, total };
    }
  }

  #after(oid: Oid, tid: Tid): Row | undefined {
    return this.#database.get(
      "SELECT oid FROM revision WHERE oid = ? AND tid > ? LIMIT 1",
      oid,
      tid,
    );
  }

  #check(oid: Oid, tid: Tid, { crc, record }: Row, isNewest: boolean): void {
    // A pack leaves a row without a record for what it has removed.
    if (record === null) return;
    this.#records++;
    if (isNewest) {
      this.#objects++;
      this.#present.add(oid);
    }
    if (isGood(oid, crc, record)) return;
    this.#damage(
      `the record of object #${oid} of transaction ${tid} is damaged`,
    );
    if (isNewest) this.#unreadable.add(oid);
  }

  /** Follows all references from the root. */
  *#follow(): Generator<
    VerifyProgress,
    { reachable: number; unreadable: number }
  > {
    const seen = new OidSet();
    const queue = new OidQueue();
    let reachable = 0;
    let unreadable = 0;
    if (this.#present.has(ROOT_OID)) {
      seen.add(ROOT_OID);
      queue.push(ROOT_OID);
    } else if (this.#objects > 0) {
      this.#damage("there are objects and no root");
    }
    for (let oid = queue.shift(); oid !== undefined; oid = queue.shift()) {
      if (++reachable % BATCH === 0) {
        yield { phase: "objects", done: reachable, total: this.#objects };
      }
      if (this.#unreadable.has(oid)) {
        unreadable++;
        continue;
      }
      for (const reference of recordReferences(this.#newest(oid))) {
        if (!this.#present.has(reference)) {
          this.#danglingCount++;
          if (this.#dangling.length < LISTED) {
            this.#dangling.push({ oid: reference, from: oid });
          }
        } else if (seen.add(reference)) {
          queue.push(reference);
        }
      }
    }
    return { reachable, unreadable };
  }

  #newest(oid: Oid): Uint8Array {
    return this.#database.get(
      "SELECT record FROM revision WHERE oid = ? ORDER BY tid DESC LIMIT 1",
      oid,
    )!["record"] as Uint8Array;
  }
}

function isGood(oid: Oid, crc: unknown, record: unknown): boolean {
  if (!(record instanceof Uint8Array) || crc32(record) !== crc) return false;
  try {
    recordReferences(record);
    return recordOid(record) === oid;
  } catch {
    return false;
  }
}
