/**
 * What is in the tables of a SQLite file of ours. Each row has a checksum of
 * all that it says, and each points to another, so that a row that was changed,
 * exchanged or lost is noticed by whoever needs it. `docs/format.md` tells how.
 *
 * @module
 */
import { StorageError } from "../../errors.ts";
import { type Oid, type Records, ROOT_OID } from "../../serialize/record.ts";
import { describeTid, nextTid } from "../moment.ts";
import type { SqliteDatabase } from "./database.ts";
import type { Row } from "./library.ts";
import { toHex } from "../../serialize/bytes.ts";
import {
  changesChecksum,
  identityChecksum,
  objectChecksum,
  packOids,
  revisionChecksum,
  type State,
  stateChecksum,
  unpackOids,
} from "./rows.ts";
import type { CommitNews, Tid } from "../storage.ts";

/** What was changed since a moment. */
export interface News {
  readonly state: State;
  /** Every object that has a newer revision, also those that are `removed`. */
  readonly changed: Oid[];
  /** What packs have removed. */
  readonly removed: Oid[];
}

/** An object that a pack removes. */
export interface Removal {
  readonly oid: Oid;
  /** Its last revision. */
  readonly tid: Tid;
}

/** That a revision is not there, though there was one. */
export const GONE = Symbol("gone");

/** So many objects are looked for one by one. */
const FEW = 20;

/** The tables of an open file. */
export class SqliteTables {
  readonly #database: SqliteDatabase;

  /** Reads and writes the tables of a file. */
  constructor(database: SqliteDatabase) {
    this.#database = database;
  }

  /** Returns the row of the table `dhara`. */
  state(): State {
    const row = this.#database.get(
      "SELECT next, tid, cut, forgotten, root, crc FROM dhara",
    );
    const state = row as unknown as State & { crc: number } | undefined;
    if (state !== undefined && stateChecksum(state) === state.crc) {
      // @db/sqlite hands out the same object again and again.
      return { ...state };
    }
    throw this.#database.damaged(
      "what it says of its last transaction and its numbers is damaged",
    );
  }

  /** Returns what tells this database from others. */
  identity(): string {
    const row = this.#database.get("SELECT crc, bytes FROM identity");
    if (row !== undefined && identityChecksum(row["bytes"]) === row["crc"]) {
      return toHex(row["bytes"] as Uint8Array);
    }
    throw this.#database.damaged(
      "what tells it from other databases is damaged",
    );
  }

  /** Whether there was such a transaction, as far as is known. */
  knows(tid: Tid): boolean {
    const state = this.state();
    return tid === state.tid || tid <= state.forgotten ||
      this.#database.get("SELECT 1 FROM changes WHERE tid = ?", tid) !==
        undefined;
  }

  /** Changes the row of the table `dhara`. */
  setState(state: State): void {
    const { next, tid, cut, forgotten, root } = state;
    this.#database.run(
      "UPDATE dhara SET next = ?, tid = ?, cut = ?, forgotten = ?, root = ?, crc = ?",
      next,
      tid,
      cut,
      forgotten,
      root,
      stateChecksum(state),
    );
  }

  /** Checks what can be checked at once: whether the tables agree about what is the last. */
  check(): void {
    const database = this.#database;
    const { state, oid, tid, root } = database.read(() => ({
      state: this.state(),
      oid: database.get(
        "SELECT max(coalesce((SELECT max(oid) FROM object), -1), coalesce((SELECT max(oid) FROM revision), -1)) AS oid",
      )!["oid"] as Oid,
      tid: database.get("SELECT max(tid) AS tid FROM changes")!["tid"],
      root: this.place(ROOT_OID)?.revision ? 1 : 0,
    }));
    if (!(oid < state.next)) {
      throw database.damaged(
        `it holds object #${oid}, and says that numbers from ${state.next} on are free`,
      );
    }
    if (tid === null ? state.tid > state.forgotten : tid !== state.tid) {
      throw database.damaged(
        `it says that its last transaction is ${state.tid}, and the last that it knows is ${tid}`,
      );
    }
    const { cut, forgotten } = state;
    if (cut > state.tid || forgotten > state.tid) {
      throw database.damaged(
        `it says that packs have dropped what was before ${
          Math.max(cut, forgotten)
        }, after its last transaction, ${state.tid}`,
      );
    }
    if (state.root !== root) {
      throw database.damaged(
        state.root === 1
          ? "its root is not there, though there was one"
          : "it says that there never was a root, and there is one",
      );
    }
  }

  /**
   * Returns the newest record of an object that is not newer than `at`: `null`
   * if it was removed, `undefined` if there was none, `GONE` if it is not there
   * any more.
   */
  read(oid: Oid, at: Tid): Uint8Array | null | undefined | typeof GONE {
    const row = this.#database.get(
      `SELECT o.tid, o.revision, o.crc AS mark, r.before, r.crc, r.record
      FROM object o LEFT JOIN revision r ON r.id = o.revision WHERE o.oid = ?`,
      oid,
    );
    if (row === undefined) {
      return this.#isMissing(oid) ? undefined : this.read(oid, at);
    }
    const { tid, revision, mark } = row as Record<string, number>;
    if (objectChecksum(oid, tid!, revision!) !== mark) throw this.#lost(oid);
    if (tid! > at) return this.#older(oid, tid!, at);
    if (revision === 0) return null;
    const record = this.#checked(oid, tid!, row);
    // Only what says that there is none has no record.
    if (record === null) throw this.#lost(oid);
    return record;
  }

  /** Whether there was an object at a moment. */
  has(oid: Oid, at: Tid): boolean | typeof GONE {
    const place = this.place(oid);
    if (place === undefined) {
      return this.#isMissing(oid) ? false : this.has(oid, at);
    }
    if (place.tid <= at) return place.revision !== 0;
    const record = this.#older(oid, place.tid, at);
    return record === GONE ? GONE : record instanceof Uint8Array;
  }

  /** Returns how long a record was at a moment, as the file has it; 0 if there was none. */
  length(oid: Oid, at: Tid): number {
    const row = this.#database.get(
      "SELECT length(record) AS length FROM revision WHERE oid = ? AND tid <= ? ORDER BY tid DESC LIMIT 1",
      oid,
      at,
    );
    return (row?.["length"] ?? 0) as number;
  }

  /** Returns when an object was stored or removed last, and the number of its newest row: 0 if it was removed. */
  place(oid: Oid): { tid: Tid; revision: number } | undefined {
    const row = this.#database.get(
      "SELECT tid, revision, crc FROM object WHERE oid = ?",
      oid,
    );
    if (row === undefined) return undefined;
    const { tid, revision, crc } = row as Record<string, number>;
    if (objectChecksum(oid, tid!, revision!) !== crc) throw this.#lost(oid);
    return { tid: tid!, revision: revision! };
  }

  /** Returns what was changed since a moment, as the bookkeeping has it. */
  news(since: Tid): News {
    const state = this.state();
    if (state.tid === since) return { state, changed: [], removed: [] };
    if (state.tid < since) {
      throw this.#database.damaged(
        `its last transaction was ${since}, and now it is ${state.tid}`,
      );
    }
    const rows = this.#database.all(
      "SELECT tid, before, removed, crc, oids FROM changes WHERE tid > ? AND tid <= ? ORDER BY tid",
      since,
      state.tid,
    );
    const changed: Oid[] = [];
    const removed: Oid[] = [];
    let last = since;
    for (const row of rows) {
      if (row["before"] !== last) break;
      last = row["tid"] as Tid;
      const oids = this.#checkedOids(row);
      for (const oid of oids) changed.push(oid);
      if (row["removed"] === 1) { for (const oid of oids) removed.push(oid); }
    }
    if (last === state.tid) {
      return {
        state,
        changed: rows.length === 1 ? changed : [...new Set(changed)],
        removed,
      };
    }
    if (since < this.state().forgotten) {
      throw new StorageError(
        `Cannot go on with ${this.#database.path}: this session did not move for so long that it is not known any more what has changed; open a new one`,
      );
    }
    throw this.#database.damaged(
      `it does not say what was changed after transaction ${last}`,
    );
  }

  /**
   * Makes sure that it is known what was changed after a moment.
   *
   * @throws {StorageError} if it is not, any more.
   */
  checkRemembered(moment: Tid): void {
    const { forgotten } = this.state();
    if (moment >= forgotten) return;
    throw new StorageError(
      `Cannot tell what was changed in ${this.#database.path} after ${
        describeTid(moment)
      }: a pack has forgotten it; the oldest moment that is known is ${
        describeTid(forgotten)
      }`,
    );
  }

  /**
   * Returns the next transactions after one, so many at most, the oldest first.
   *
   * @throws {StorageError} if they are not known any more.
   */
  changesAfter(tid: Tid, most: number): (CommitNews & { byPack: boolean })[] {
    this.checkRemembered(tid);
    const rows = this.#database.all(
      "SELECT tid, before, removed, crc, oids FROM changes WHERE tid > ? ORDER BY tid LIMIT ?",
      tid,
      most,
    );
    let last = tid;
    return rows.map((row) => {
      const oids = this.#checkedOids(row);
      if (row["before"] !== last) {
        throw this.#database.damaged(
          `it does not say what was changed after transaction ${last}`,
        );
      }
      last = row["tid"] as Tid;
      return { tid: last, oids, byPack: row["removed"] === 1 };
    });
  }

  /** Returns the last transaction that is not after a moment. */
  tidAt(moment: Tid): Tid {
    const next = this.#database.get(
      "SELECT tid, before, removed, crc, oids FROM changes WHERE tid > ? ORDER BY tid LIMIT 1",
      moment,
    );
    if (next === undefined) return this.state().tid;
    this.#checkedOids(next);
    const before = next["before"] as Tid;
    const last = this.#database.get(
      "SELECT max(tid) AS tid FROM changes WHERE tid <= ?",
      moment,
    )!["tid"] as Tid | null;
    if (before <= moment && (last === null || last === before)) return before;
    throw this.#database.damaged(
      `transaction ${before}, before ${next["tid"]}, is lost`,
    );
  }

  /** Stores records as the transaction after `state`, in a transaction of SQLite. */
  store(state: State, records: Records, next: Oid): Tid {
    const tid = nextTid(state.tid);
    const oids = [...records.keys()];
    const before = this.#lastTids(oids);
    for (const [oid, record] of records) {
      this.#add(oid, tid, before.get(oid) ?? 0, record);
    }
    this.#addChanges(tid, state.tid, 0, oids);
    const root = records.has(ROOT_OID) ? 1 : state.root;
    this.setState({ ...state, tid, next, root });
    return tid;
  }

  /** Removes objects as the transaction after `state`, in a transaction of SQLite. */
  remove(state: State, removals: readonly Removal[]): Tid {
    const tid = nextTid(state.tid);
    // In two statements, since everybody waits for this transaction.
    const rows = JSON.stringify(removals.map(({ oid, tid: before }) => [
      oid,
      before,
      revisionChecksum(oid, tid, before, null),
      objectChecksum(oid, tid, 0),
    ]));
    const item = (i: number) => `json_extract(value, '$[${i}]')`;
    this.#database.run(
      `INSERT INTO revision (oid, tid, before, crc, record)
      SELECT ${item(0)}, ?, ${item(1)}, ${item(2)}, NULL FROM json_each(?)`,
      tid,
      rows,
    );
    this.#database.run(
      `REPLACE INTO object (oid, tid, revision, crc)
      SELECT ${item(0)}, ?, 0, ${item(3)} FROM json_each(?)`,
      tid,
      rows,
    );
    this.#addChanges(tid, state.tid, 1, removals.map(({ oid }) => oid));
    this.setState({ ...state, tid });
    return tid;
  }

  #add(oid: Oid, tid: Tid, before: Tid, record: Uint8Array): void {
    this.#database.run(
      "INSERT INTO revision (oid, tid, before, crc, record) VALUES (?, ?, ?, ?, ?)",
      oid,
      tid,
      before,
      revisionChecksum(oid, tid, before, record),
      record,
    );
    this.#database.run(
      "REPLACE INTO object (oid, tid, revision, crc) VALUES (?, ?, last_insert_rowid(), ?)",
      oid,
      tid,
      objectChecksum(oid, tid, 1),
    );
  }

  #addChanges(
    tid: Tid,
    before: Tid,
    removed: number,
    oids: readonly Oid[],
  ): void {
    const bytes = packOids(oids);
    this.#database.run(
      "INSERT INTO changes (tid, before, removed, crc, oids) VALUES (?, ?, ?, ?, ?)",
      tid,
      before,
      removed,
      changesChecksum(tid, before, removed, bytes),
      bytes,
    );
  }

  /** Returns the last revision of each object that has any. */
  #lastTids(oids: readonly Oid[]): Map<Oid, Tid> {
    const tids = new Map<Oid, Tid>();
    if (oids.length <= FEW) {
      for (const oid of oids) {
        const place = this.place(oid);
        if (place !== undefined) tids.set(oid, place.tid);
        else this.#isMissing(oid);
      }
      return tids;
    }
    const rows = this.#database.all(
      `SELECT o.oid, o.tid, o.revision, o.crc FROM json_each(?) j
      CROSS JOIN object o ON o.oid = j.value`,
      JSON.stringify(oids),
    );
    for (
      const { oid, tid, revision, crc } of rows as Record<string, number>[]
    ) {
      if (objectChecksum(oid!, tid!, revision!) !== crc) throw this.#lost(oid!);
      tids.set(oid!, tid!);
    }
    const others = oids.filter((oid) => !tids.has(oid));
    if (others.length === 0) return tids;
    const known = this.#database.get(
      `SELECT r.oid FROM json_each(?) j
      CROSS JOIN revision r ON r.oid = j.value LIMIT 1`,
      JSON.stringify(others),
    );
    if (known !== undefined) throw this.#lost(known["oid"] as Oid);
    return tids;
  }

  /** Whether nothing is known of an object; somebody may just have stored it. */
  #isMissing(oid: Oid): boolean {
    const { place, revision } = this.#database.get(
      `SELECT EXISTS (SELECT 1 FROM object WHERE oid = ?1) AS place,
      EXISTS (SELECT 1 FROM revision WHERE oid = ?1) AS revision`,
      oid,
    )!;
    if (place === 0 && revision !== 0) throw this.#lost(oid);
    return place === 0;
  }

  /** Returns the record of an object at a moment before its newest revision. */
  #older(
    oid: Oid,
    newest: Tid,
    at: Tid,
  ): Uint8Array | null | undefined | typeof GONE {
    // The revision after that moment says which one was before it.
    const next = this.#database.get(
      "SELECT tid, before, crc, record FROM revision WHERE oid = ? AND tid > ? ORDER BY tid LIMIT 1",
      oid,
      at,
    );
    if (next === undefined || (next["tid"] as Tid) > newest) return GONE;
    this.#checked(oid, next["tid"] as Tid, next);
    const before = next["before"] as Tid;
    if (before === 0) return undefined;
    if (before > at) return GONE;
    const row = this.#database.get(
      "SELECT before, crc, record FROM revision WHERE oid = ? AND tid = ?",
      oid,
      before,
    );
    return row === undefined ? GONE : this.#checked(oid, before, row);
  }

  #checked(oid: Oid, tid: Tid, row: Row): Uint8Array | null {
    const { before, crc, record } = row;
    if (revisionChecksum(oid, tid, before as Tid, record!) === crc) {
      return record as Uint8Array | null;
    }
    throw this.#database.damaged(`the record of object #${oid} is damaged`);
  }

  #checkedOids({ tid, before, removed, crc, oids }: Row): Oid[] {
    const sum = changesChecksum(
      tid as Tid,
      before as Tid,
      removed as number,
      oids,
    );
    if (sum === crc) return unpackOids(oids as Uint8Array);
    throw this.#database.damaged(
      `what transaction ${tid} has changed is damaged`,
    );
  }

  #lost(oid: Oid) {
    return this.#database.damaged(
      `where the newest record of object #${oid} is, is damaged`,
    );
  }
}
