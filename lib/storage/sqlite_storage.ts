/**
 * A storage in a SQLite file, which many processes can use at once.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import {
  ObjectNotFoundError,
  ReadConflictError,
  ReadonlyError,
  StorageClosedError,
  StorageError,
} from "../errors.ts";
import {
  type Oid,
  recordOid,
  recordReferences,
  ROOT_OID,
} from "../serialize/record.ts";
import {
  checkRecords,
  LARGEST_OID,
  LONGEST_LEAP,
  MOST_NUMBERS,
  nextTid,
  type Records,
} from "./local_session.ts";
import { cutOff, describeTid, tidOf } from "./moment.ts";
import {
  type Row,
  type SqliteClass,
  SqliteDatabase,
  type SqliteStorageOptions,
} from "./sqlite_database.ts";
import { packSqlite } from "./sqlite_pack.ts";
import { packToEnd } from "./reachable.ts";
import type {
  CommitResult,
  PackOptions,
  PackProgress,
  Session,
  SessionCommitOptions,
  SessionOptions,
  Storage,
  Tid,
} from "./storage.ts";

export type { SqliteStorageOptions } from "./sqlite_database.ts";

/** The fewest and the most numbers that are taken from the file at once. */
const FEWEST_TAKEN = 64;
const MOST_TAKEN = 65_536;

/**
 * A storage in a SQLite file. Many processes can read and write one file at
 * the same time. SQLite is loaded by the first `open()` of a program, and only
 * then: where it is the package `@db/sqlite`, that needs `--allow-ffi`, and
 * the network the first time.
 *
 * @example
 * ```ts
 * import { Connection, SqliteStorage } from "@dhara/dhara";
 * import { assertEquals } from "@std/assert";
 *
 * const directory = Deno.makeTempDirSync();
 * {
 *   using storage = await SqliteStorage.open(`${directory}/example.sqlite`);
 *   using connection = new Connection(storage);
 *   connection.root["hello"] = "world";
 *   connection.commit();
 *   using another = new Connection(storage);
 *   assertEquals(another.root["hello"], "world");
 * }
 * Deno.removeSync(directory, { recursive: true });
 * ```
 */
export class SqliteStorage implements Storage {
  /** Whether it was opened for reading only. */
  readonly readonly: boolean;
  readonly #database: SqliteDatabase;
  readonly #sessions = new Set<SqliteSession>();
  #closed = false;
  #packing = false;
  /** Numbers that were taken from the file, and not given out yet. */
  #free: Oid;
  #freeEnd: Oid;
  #take = FEWEST_TAKEN;
  #rootIsFree: boolean;

  private constructor(database: SqliteDatabase, readonly: boolean) {
    this.#database = database;
    this.readonly = readonly;
    const next = this.#state("next");
    this.#free = next;
    // Who only reads may have numbers too; nobody will see them.
    this.#freeEnd = readonly ? LARGEST_OID : next;
    // Somebody took the root's number and never stored a root.
    this.#rootIsFree = next > ROOT_OID &&
      this.#read(ROOT_OID, LARGEST_OID) === undefined;
  }

  /**
   * Opens a file, and makes it if there is none.
   *
   * @throws {DamagedFileError} if it is damaged.
   * @throws {StorageError} if it is not a SQLite file of ours, or cannot be opened.
   */
  static async open(
    path: string,
    options: SqliteStorageOptions = {},
  ): Promise<SqliteStorage> {
    const Database = await loadSqlite(path);
    const database = new SqliteDatabase(Database, path, options);
    try {
      return database.explain(
        "open",
        () => new SqliteStorage(database, options.readonly ?? false),
      );
    } catch (error) {
      database.close();
      throw error;
    }
  }

  /** The file, as it was given. */
  get path(): string {
    return this.#database.path;
  }

  /**
   * Opens a session on the newest snapshot, or on one of the past.
   *
   * @throws {StorageError} if a pack has dropped that moment.
   */
  session({ at }: SessionOptions = {}): Session {
    this.#checkOpen();
    const tid = this.#database.explain(
      "read",
      () => at === undefined ? this.#state("tid") : this.#tidAt(tidOf(at)),
    );
    const session = new SqliteSession(
      {
        name: this.path,
        checkOpen: () => this.#checkOpen(),
        load: (oid, tid) =>
          this.#database.explain("read", () => this.#load(oid, tid)),
        allocate: (count) => this.#allocate(count),
        news: (tid) => this.#database.explain("read", () => this.#news(tid)),
        commit: (session, records, accessed) =>
          this.#database.explain(
            "commit to",
            () => this.#commit(session, records, accessed),
          ),
        forget: (session) => this.#sessions.delete(session),
      },
      tid,
      at !== undefined,
    );
    this.#sessions.add(session);
    return session;
  }

  /**
   * Drops what cannot be reached from the root, and old revisions that no
   * session on this storage reads. A session of another process may find that
   * a revision is gone; it gets a {@linkcode ReadConflictError}. With `keep`,
   * nothing is dropped that could be seen since then. See
   * {@linkcode Storage.pack}.
   *
   * @throws {StorageError} if another pack is under way, or it is told to keep the old file.
   * @throws {ReadonlyError} if the storage is read-only.
   */
  pack(options?: PackOptions): PackProgress {
    return packToEnd(this.packInSteps(options));
  }

  /** Does what `pack()` does, in steps. See {@linkcode Storage.packInSteps}. */
  packInSteps(
    { keep, prepack }: PackOptions = {},
  ): Generator<PackProgress, void> {
    this.#checkOpen();
    if (this.readonly) {
      throw new ReadonlyError(
        `Cannot pack ${this.path}: it was opened for reading only`,
      );
    }
    if (prepack) {
      throw new StorageError(
        `Cannot keep the old file when packing ${this.path}: SQLite files are packed in place; copy it before`,
      );
    }
    return this.#steps(keep === undefined ? Infinity : cutOff(keep));
  }

  *#steps(kept: Tid): Generator<PackProgress, void> {
    this.#checkOpen();
    if (this.#packing) {
      throw new StorageError(
        `Cannot pack ${this.path}: another pack is under way`,
      );
    }
    this.#packing = true;
    try {
      const steps = packSqlite(this.#database, {
        newest: (oid) => this.#read(oid, LARGEST_OID),
        oldest: (newest) =>
          Math.min(
            newest,
            kept,
            ...[...this.#sessions].map(({ tid }) => tid),
          ),
      });
      for (;;) {
        this.#checkOpen();
        const step = this.#database.explain("pack", () => steps.next());
        if (step.done) return;
        yield step.value;
      }
    } finally {
      this.#packing = false;
    }
  }

  /** Closes the storage and every session on it. Closing twice is fine. */
  close(): void {
    if (this.#closed) return;
    for (const session of [...this.#sessions]) session.close();
    this.#closed = true;
    try {
      this.#giveBack();
    } finally {
      this.#database.explain("close", () => this.#database.close());
    }
  }

  /** Closes the storage, as `close()` does. */
  [Symbol.dispose](): void {
    this.close();
  }

  #checkOpen(): void {
    if (this.#closed) {
      throw new StorageClosedError(
        `Cannot use ${this.path}: the storage was closed`,
      );
    }
  }

  #state(name: "next" | "tid" | "cut"): number {
    return this.#database.get("SELECT next, tid, cut FROM dhara")![
      name
    ] as number;
  }

  #tidAt(moment: Tid): Tid {
    const tid = this.#database.get(
      "SELECT max(tid) AS tid FROM revision WHERE tid <= ?",
      moment,
    )!["tid"] as Tid | null;
    const cut = this.#state("cut");
    // The transaction itself may be gone, though nothing of it was dropped since.
    if (moment >= cut) return Math.max(tid ?? 0, cut);
    throw new StorageError(
      `Cannot read ${this.path} as of ${
        describeTid(moment)
      }: a pack has dropped what was before ${describeTid(cut)}`,
    );
  }

  /** Returns the newest record that is not newer than `tid`: `null` if the object was removed. */
  #read(oid: Oid, tid: Tid): Uint8Array | null | undefined {
    const row = this.#database.get(
      "SELECT crc, record FROM revision WHERE oid = ? AND tid <= ? ORDER BY tid DESC LIMIT 1",
      oid,
      tid,
    );
    return row === undefined ? undefined : this.#checked(oid, row);
  }

  #checked(oid: Oid, { crc, record }: Row): Uint8Array | null {
    if (record === null) return null;
    if (record instanceof Uint8Array && crc32(record) === crc) {
      try {
        if (recordOid(record) === oid) return record;
      } catch {
        // It is no record.
      }
    }
    throw this.#database.damaged(`the record of object #${oid} is damaged`);
  }

  #load(oid: Oid, tid: Tid): Uint8Array | undefined {
    const record = this.#read(oid, tid);
    if (record !== undefined) return record ?? undefined;
    // A pack drops no revision that is older before it has moved the cut.
    if (tid >= this.#state("cut")) return undefined;
    throw new ReadConflictError(
      `Cannot load object #${oid}: another process has packed ${this.path}, and this transaction's snapshot may be gone; call abort() and start over`,
      { oids: [oid] },
    );
  }

  /** Returns the newest moment, and what has changed since `tid`. */
  #news(tid: Tid): { tid: Tid; oids: Oid[] } {
    // One statement, so that it sees one moment.
    const rows = this.#database.all(
      "SELECT d.tid, d.forgotten, r.oid FROM dhara d LEFT JOIN revision r ON r.tid > ?",
      tid,
    );
    const { tid: newest, forgotten } = rows[0] as Record<string, number>;
    if (tid < forgotten!) {
      throw new StorageError(
        `Cannot go on with ${this.path}: this session did not move for so long that it is not known any more what has changed; open a new one`,
      );
    }
    const oids = new Set<Oid>();
    for (const { oid } of rows) if (oid !== null) oids.add(oid as Oid);
    return { tid: newest!, oids: [...oids] };
  }

  #allocate(count: number): Oid[] {
    if (!Number.isInteger(count) || count < 0 || count > MOST_NUMBERS) {
      throw new StorageError(
        `Cannot allocate ${count} numbers: ask for 0 to ${MOST_NUMBERS}`,
      );
    }
    const oids: Oid[] = [];
    if (count > 0 && this.#rootIsFree) {
      oids.push(ROOT_OID);
      this.#rootIsFree = false;
    }
    while (oids.length < count) {
      if (this.#free >= this.#freeEnd) this.#takeNumbers(count - oids.length);
      oids.push(this.#free++);
    }
    return oids;
  }

  #takeNumbers(least: number): void {
    const count = Math.max(least, this.#take);
    this.#database.explain(
      "allocate numbers in",
      () =>
        this.#database.write(() => {
          const next = this.#state("next");
          if (this.readonly || count > LARGEST_OID - next) {
            throw new StorageError(
              `Cannot allocate ${least} numbers: there are no more`,
            );
          }
          this.#database.run("UPDATE dhara SET next = ?", next + count);
          this.#free = next;
          this.#freeEnd = next + count;
        }),
    );
    this.#take = Math.min(2 * this.#take, MOST_TAKEN);
  }

  /** Gives numbers that were not used back, if nobody has taken any after them. */
  #giveBack(): void {
    if (this.readonly || this.#free === this.#freeEnd) return;
    try {
      this.#database.run(
        "UPDATE dhara SET next = ? WHERE next = ?",
        this.#free,
        this.#freeEnd,
      );
    } catch {
      // They are just never used then.
    }
  }

  #commit(
    session: SqliteSession,
    records: Records,
    accessed: (oid: Oid) => boolean,
  ): CommitResult {
    if (this.readonly) {
      throw new ReadonlyError(
        `Cannot commit to ${this.path}: it was opened for reading only`,
      );
    }
    const database = this.#database;
    const result = database.write((): CommitResult => {
      const news = this.#news(session.tid);
      if (news.oids.some(accessed)) return { invalid: news.oids };
      const next = this.#nextAfter(records);
      this.#checkReferences(records, session.began);
      const tid = nextTid(news.tid);
      for (const [oid, record] of records) {
        database.run(
          "INSERT INTO revision (oid, tid, crc, record) VALUES (?, ?, ?, ?)",
          oid,
          tid,
          crc32(record),
          record,
        );
      }
      database.run("UPDATE dhara SET tid = ?, next = ?", tid, next);
      return { tid, changed: news.oids };
    });
    if ("tid" in result) this.#noteStored(records);
    return result;
  }

  #nextAfter(records: Records): Oid {
    const free = this.#state("next");
    let next = free;
    for (const oid of records.keys()) if (oid >= next) next = oid + 1;
    if (next - free > LONGEST_LEAP) {
      throw new StorageError(
        `Cannot commit object #${
          next - 1
        }: numbers from ${free} on are free; allocate them first`,
      );
    }
    return next;
  }

  /** Keeps numbers from being given out that somebody used without asking. */
  #noteStored(records: Records): void {
    if (records.has(ROOT_OID)) this.#rootIsFree = false;
    for (const oid of records.keys()) {
      if (oid >= this.#free && oid < this.#freeEnd) this.#free = oid + 1;
    }
  }

  // A program may hold on to an object that a pack has removed since, and put
  // it into another one without ever reading it: no invalidation can stop that.
  #checkReferences(records: Records, began: Tid): void {
    const removed = this.#database.get(
      "SELECT max(tid) AS tid FROM revision WHERE record IS NULL",
    )!["tid"] as Tid | null;
    if (removed === null || removed <= began) return;
    for (const [oid, record] of records) {
      for (const reference of recordReferences(record)) {
        if (records.has(reference)) continue;
        if (this.#read(reference, LARGEST_OID) === null) {
          throw new StorageError(
            `Cannot commit object #${oid}: it refers to object #${reference}, which nothing referred to and a pack has removed; abort and make that object anew`,
          );
        }
      }
    }
  }
}

/** What a session needs of its storage. */
interface Owner {
  readonly name: string;
  checkOpen(): void;
  load(oid: Oid, tid: Tid): Uint8Array | undefined;
  allocate(count: number): Oid[];
  news(tid: Tid): { tid: Tid; oids: Oid[] };
  commit(
    session: SqliteSession,
    records: Records,
    accessed: (oid: Oid) => boolean,
  ): CommitResult;
  forget(session: SqliteSession): void;
}

/** A session: nothing but a moment. What changed since then is found in the file. */
class SqliteSession implements Session {
  readonly #owner: Owner;
  #tid: Tid;
  /** The first moment that it read. */
  readonly began: Tid;
  readonly #past: boolean;
  #closed = false;

  constructor(owner: Owner, tid: Tid, past: boolean) {
    this.#owner = owner;
    this.#past = past;
    this.#tid = this.began = tid;
  }

  get tid(): Tid {
    return this.#tid;
  }

  allocate(count: number): Oid[] {
    this.#checkOpen();
    return this.#owner.allocate(count);
  }

  load(oid: Oid): Uint8Array {
    this.#checkOpen();
    const record = Number.isSafeInteger(oid) && oid >= 0
      ? this.#owner.load(oid, this.#tid)
      : undefined;
    if (record === undefined) throw new ObjectNotFoundError(oid);
    return record;
  }

  loadMany(oids: readonly Oid[]): Uint8Array[] {
    this.#checkOpen();
    return oids.map((oid) => this.load(oid));
  }

  has(oid: Oid): boolean {
    this.#checkOpen();
    return Number.isSafeInteger(oid) && oid >= 0 &&
      this.#owner.load(oid, this.#tid) !== undefined;
  }

  sync(): Oid[] {
    this.#checkOpen();
    if (this.#past) return [];
    const { tid, oids } = this.#owner.news(this.#tid);
    this.#tid = tid;
    return oids;
  }

  commit(
    records: Iterable<readonly [Oid, Uint8Array]>,
    { note, user, accessed = () => true }: SessionCommitOptions = {},
  ): CommitResult {
    this.#checkOpen();
    if (note !== undefined || user !== undefined) {
      throw new StorageError(
        `Cannot commit with a note or a user to ${this.#owner.name}: it keeps no notes`,
      );
    }
    const checked = checkRecords(records);
    // Taking the records may have run code of the caller.
    this.#checkOpen();
    if (checked.size === 0) return { tid: this.#tid, changed: [] };
    if (this.#past) {
      throw new ReadonlyError(
        `Cannot commit to ${this.#owner.name}: the session reads the past, as of ${
          describeTid(this.#tid)
        }`,
      );
    }
    const result = this.#owner.commit(this, checked, accessed);
    if ("tid" in result) this.#tid = result.tid;
    return result;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#owner.forget(this);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #checkOpen(): void {
    this.#owner.checkOpen();
    if (this.#closed) {
      throw new StorageClosedError(
        `Cannot use the session on ${this.#owner.name}: it was closed`,
      );
    }
  }
}

/** Imports the package for SQLite. */
export async function loadSqlite(path: string): Promise<SqliteClass> {
  try {
    // Importing the package opens its library, so it is not imported above.
    const module: unknown = await import("@db/sqlite");
    return (module as { Database: SqliteClass }).Database;
  } catch (cause) {
    throw new StorageError(
      `Cannot open ${path}: SQLite cannot be loaded (${
        cause instanceof Error ? cause.message : cause
      })`,
      { cause },
    );
  }
}
