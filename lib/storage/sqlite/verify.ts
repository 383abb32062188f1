/**
 * Whether a database in SQLite is as it should be.
 *
 * @module
 */
import { statSync } from "node:fs";
import {
  type Oid,
  recordOid,
  recordReferences,
  ROOT_OID,
} from "../../serialize/record.ts";
import { OidQueue } from "../oid_queue.ts";
import { OidSet } from "../oid_set.ts";
import type { SqliteDatabase } from "./database.ts";
import type { Row } from "./library.ts";
import {
  changesChecksum,
  identityChecksum,
  objectChecksum,
  revisionChecksum,
  type State,
  stateChecksum,
  unpackOids,
} from "./rows.ts";
import type { Progress, Tid } from "../storage.ts";
import type { VerifyReport } from "../verify_report.ts";

/** So many findings of a kind are listed. */
const LISTED = 100;
/** Rows that are read at once. */
const BATCH = 500;

/** The columns of each table that hold whole numbers. */
const NUMBERS = {
  dhara: ["id", "next", "tid", "cut", "forgotten", "root", "crc"],
  object: ["oid", "tid", "revision", "crc"],
  revision: ["id", "oid", "tid", "before", "crc"],
  changes: ["tid", "before", "removed", "crc"],
  identity: ["id", "crc"],
};
type Table = keyof typeof NUMBERS;

/** The SQL that says whether all numbers in a row can be. */
function sound(table: Table): string {
  return NUMBERS[table].map((column) =>
    `(typeof(${column}) = 'integer' AND ${column} BETWEEN 0 AND ${Number.MAX_SAFE_INTEGER})`
  ).join(" AND ");
}

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
  #bytes = 0;
  #objects = 0;

  constructor(database: SqliteDatabase) {
    this.#database = database;
  }

  #progress(
    phase: NonNullable<Progress["phase"]>,
    fraction: number,
    records = this.#records,
  ): Progress {
    return { phase, records, bytes: this.#bytes, fraction };
  }

  /** Verifies; returns what it has found. Nothing that others commit meanwhile is seen. */
  *run(): Generator<Progress, VerifyReport> {
    const database = this.#database;
    const { path } = database;
    database.run("BEGIN");
    try {
      for (const row of database.all(`PRAGMA integrity_check(${LISTED})`)) {
        const [message] = Object.values(row);
        if (message !== "ok") this.#damage(`SQLite says: ${message}`);
      }
      const state = this.#readState();
      yield* this.#readRecords(state);
      this.#readObjects();
      yield* this.#readChanges(state);
      const { reachable, unreadable } = yield* this.#follow(state);
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

  /** Checks the row of the table `dhara`, and that all numbers are numbers. */
  #readState(): State {
    const database = this.#database;
    for (const table of Object.keys(NUMBERS) as Table[]) {
      const { n } = database.get(
        `SELECT count(*) AS n FROM ${table} WHERE NOT (${sound(table)})`,
      )!;
      if (n !== 0) {
        this.#damage(
          `the table ${table} has ${n} rows with numbers that cannot be`,
        );
      }
    }
    const row = database.get(
      `SELECT next, tid, cut, forgotten, root, crc FROM dhara WHERE ${
        sound("dhara")
      }`,
    ) as unknown as State & { crc: number } | undefined;
    if (row === undefined || stateChecksum(row) !== row.crc) {
      this.#damage(
        "what it says of its last transaction and its numbers is damaged",
      );
    }
    const own = database.get("SELECT crc, bytes FROM identity");
    if (own === undefined || identityChecksum(own["bytes"]) !== own["crc"]) {
      this.#damage("what tells it from other databases is damaged");
    }
    if (row === undefined) {
      return { next: Infinity, tid: Infinity, cut: 0, forgotten: 0, root: 0 };
    }
    const { tid, cut, forgotten } = row;
    if (cut > tid || forgotten > tid) {
      this.#damage(
        `it says that packs have dropped what was before ${
          Math.max(cut, forgotten)
        }, after its last transaction, ${tid}`,
      );
    }
    return { ...row };
  }

  /** Checks every revision of every object, and what says which is the newest. */
  *#readRecords(state: State): Generator<Progress> {
    const database = this.#database;
    const total = this.#count("revision");
    let done = 0;
    let last: Row | undefined;
    for (let oid: Oid = -1, tid: Tid = 0;;) {
      const rows = database.all(
        `SELECT id, oid, tid, before, crc, record FROM revision
        WHERE (oid, tid) > (?, ?) AND ${sound("revision")}
        ORDER BY oid, tid LIMIT ?`,
        oid,
        tid,
        BATCH,
      );
      for (const row of rows) {
        oid = row["oid"] as Oid;
        tid = row["tid"] as Tid;
        // Of each object, the last row that the order gives is the newest.
        if (last !== undefined && last["oid"] !== oid) this.#checkNewest(last);
        this.#check(row, last?.["oid"] === oid ? last : undefined, state);
        last = row;
      }
      if (rows.length < BATCH) break;
      done += rows.length;
      yield this.#progress("reading", done / total);
    }
    if (last !== undefined) this.#checkNewest(last);
  }

  #count(table: Table): number {
    return this.#database.get(`SELECT count(*) AS n FROM ${table}`)![
      "n"
    ] as number;
  }

  #check(row: Row, previous: Row | undefined, state: State): void {
    const { oid, tid, before } = row as { oid: Oid; tid: Tid; before: Tid };
    if (tid > state.tid || oid >= state.next) {
      this.#damage(
        `object #${oid} has a record of transaction ${tid}, and the file says that the last transaction is ${state.tid} and the next free number ${state.next}`,
      );
    }
    // A pack leaves a row without a record for what it has removed.
    const record = row["record"];
    if (record !== null) this.#records++;
    if (record instanceof Uint8Array) this.#bytes += record.length;
    if (!isGood(row)) {
      this.#damage(
        `the record of object #${oid} of transaction ${tid} is damaged`,
      );
    } else if (
      previous === undefined
        // Packs leave what the oldest snapshot shows, however old it is.
        ? tid > state.cut && before > 0
        : previous["tid"] !== before
    ) {
      this.#damage(
        `the record of object #${oid} before that of transaction ${tid} is lost`,
      );
    }
  }

  #checkNewest(row: Row): void {
    const { id, oid, tid } = row as { id: number; oid: Oid; tid: Tid };
    const place = this.#database.get(
      `SELECT tid, revision, crc FROM object WHERE oid = ? AND ${
        sound("object")
      }`,
      oid,
    );
    const removed = row["record"] === null;
    if (
      place === undefined || place["tid"] !== tid ||
      place["revision"] !== (removed ? 0 : id) ||
      place["crc"] !== objectChecksum(oid, tid, removed ? 0 : id)
    ) {
      this.#damage(
        `where the newest record of object #${oid} is, is damaged`,
      );
    }
    if (removed) return;
    this.#objects++;
    this.#present.add(oid);
    if (!isGood(row)) this.#unreadable.add(oid);
  }

  /** Looks for objects that have no revision. */
  #readObjects(): void {
    const rows = this.#database.all(
      `SELECT oid FROM object WHERE ${
        sound("object")
      } AND NOT EXISTS (SELECT 1 FROM revision WHERE revision.oid = object.oid)
      LIMIT ?`,
      LISTED,
    );
    for (const { oid } of rows) {
      this.#damage(`object #${oid} has no record at all`);
    }
  }

  /** Checks that every transaction is there, with what it has changed. */
  *#readChanges(state: State): Generator<Progress> {
    const database = this.#database;
    const total = this.#count("changes");
    let done = 0;
    let last: Tid | undefined;
    let found = 0;
    for (;;) {
      const row = database.get(
        `SELECT tid, before, removed, crc, oids FROM changes
        WHERE tid > ? AND ${sound("changes")} ORDER BY tid LIMIT 1`,
        last ?? state.forgotten,
      );
      if (row === undefined) break;
      const { tid, before, removed } = row as Record<string, number>;
      if (last !== undefined && before !== last) {
        this.#damage(`transaction ${before}, before ${tid}, is lost`);
      }
      last = tid;
      const { oids, crc } = row;
      if (changesChecksum(tid!, before!, removed!, oids) !== crc) {
        this.#damage(`what transaction ${tid} has changed is damaged`);
      } else {
        for (const oid of unpackOids(oids as Uint8Array)) {
          const there = database.get(
            "SELECT record IS NULL AS removed FROM revision WHERE oid = ? AND tid = ?",
            oid,
            tid!,
          );
          if (there !== undefined) {
            found++;
            if (there["removed"] === removed) continue;
            this.#damage(
              `transaction ${tid} does not say rightly whether it has removed object #${oid}`,
            );
          } else if (tid! >= state.cut) {
            this.#damage(
              `the record of object #${oid} of transaction ${tid} is lost`,
            );
          }
        }
      }
      if (++done % BATCH === 0) yield this.#progress("reading", done / total);
    }
    // If what the file says could not be read, that was told before.
    const told = state.tid !== Infinity;
    if (
      told &&
      (last === undefined ? state.tid > state.forgotten : last !== state.tid)
    ) {
      this.#damage(
        `the last transaction is ${last}, and the file says that it is ${state.tid}`,
      );
    }
    const { n } = database.get(
      "SELECT count(*) AS n FROM revision WHERE tid > ?",
      state.forgotten,
    )!;
    if (n !== found) {
      this.#damage(
        `${n} records are newer than what is forgotten, and the transactions since then have ${found}`,
      );
    }
  }

  /** Follows all references from the root. */
  *#follow({ root, tid }: State): Generator<
    Progress,
    { reachable: number; unreadable: number }
  > {
    const seen = new OidSet();
    const queue = new OidQueue();
    let reachable = 0;
    let unreadable = 0;
    if (this.#present.has(ROOT_OID)) {
      seen.add(ROOT_OID);
      queue.push(ROOT_OID);
      // If what the file says could not be read, that was told before.
      if (root !== 1 && tid !== Infinity) {
        this.#damage("it says that there never was a root, and there is one");
      }
    } else if (this.#objects > 0 || root === 1) {
      this.#damage("there are objects and no root");
    }
    for (let oid = queue.shift(); oid !== undefined; oid = queue.shift()) {
      if (++reachable % BATCH === 0) {
        yield this.#progress("following", reachable / this.#objects, reachable);
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

function isGood({ oid, tid, before, crc, record }: Row): boolean {
  if (
    crc !== revisionChecksum(oid as Oid, tid as Tid, before as Tid, record)
  ) return false;
  if (record === null) return true;
  try {
    recordReferences(record as Uint8Array);
    return recordOid(record as Uint8Array) === oid;
  } catch {
    return false;
  }
}
