/**
 * A storage in a SQLite file, which many processes can use at once.
 *
 * @module
 */
import {
  ReadConflictError,
  ReadonlyError,
  StorageClosedError,
  StorageError,
} from "../errors.ts";
import { type Oid, type Records, ROOT_OID } from "../serialize/record.ts";
import { CommitListeners } from "./commit_listeners.ts";
import { checkReferences } from "./check_records.ts";
import { LARGEST_OID, nextAfter } from "./limits.ts";
import { StorageSession } from "./session.ts";
import { cutOff, describeTid, tidOf } from "./moment.ts";
import { packToEnd } from "./pack.ts";
import {
  SqliteDatabase,
  type SqliteStorageOptions,
} from "./sqlite/database.ts";
import { loadSqlite } from "./sqlite/library.ts";
import { packSqlite } from "./sqlite/pack.ts";
import { SqliteView } from "./sqlite/view.ts";
import { GONE, SqliteTables } from "./sqlite/tables.ts";
import type {
  CommitNews,
  CommitResult,
  PackOptions,
  Progress,
  Session,
  SessionOptions,
  Storage,
  StorageFeatures,
  Tid,
} from "./storage.ts";

export type { SqliteStorageOptions } from "./sqlite/database.ts";

/** The fewest and the most numbers that are taken from the file at once. */
const FEWEST_TAKEN = 64;
const MOST_TAKEN = 65_536;

/** So many transactions are read at once. */
const FEW_CHANGES = 100;

/**
 * A storage in a SQLite file. Many processes can read and write one file at
 * the same time. SQLite is loaded by the first `open()` of a program, and only
 * then: the package `@db/sqlite` where it is allowed (`--allow-ffi`) and can be
 * loaded, otherwise the `node:sqlite` that is in Deno, which needs no more than
 * to read the file, and to write to it.
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
  /** What it can do. */
  readonly features: StorageFeatures = {
    notes: false,
    past: true,
    history: false,
    keep: true,
    prepack: false,
  };
  /** Whether it was opened for reading only. */
  readonly readonly: boolean;
  /** Tells this database from others. See {@linkcode Storage.identity}. */
  readonly identity: string;
  readonly #database: SqliteDatabase;
  readonly #tables: SqliteTables;
  /** What every open session sees, and whether it may lose its snapshot to a pack. */
  readonly #views = new Map<SqliteView, boolean>();
  readonly #listeners = new CommitListeners();
  #closed = false;
  #packing = false;
  /** Numbers that were taken from the file, and not given out yet. */
  #free: Oid;
  #freeEnd: Oid;
  #take = FEWEST_TAKEN;
  #rootIsFree: boolean;

  private constructor(database: SqliteDatabase, readonly: boolean) {
    this.#database = database;
    this.#tables = new SqliteTables(database);
    this.readonly = readonly;
    this.#tables.check();
    this.identity = this.#tables.identity();
    const { next } = this.#tables.state();
    this.#free = next;
    // Who only reads may have numbers too; nobody will see them.
    this.#freeEnd = readonly ? LARGEST_OID : next;
    // Somebody took the root's number and never stored a root.
    this.#rootIsFree = next > ROOT_OID &&
      this.#tables.place(ROOT_OID) === undefined;
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

  /** Whether there was such a transaction. See {@linkcode Storage.knows}. */
  knows(tid: Tid): boolean {
    this.#checkOpen();
    return this.#database.explain("read", () => this.#tables.knows(tid));
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
  session({ at, letsGo = false }: SessionOptions = {}): Session {
    this.#checkOpen();
    const database = this.#database;
    const view = new SqliteView(
      {
        path: this.path,
        readonly: this.readonly,
        checkOpen: () => this.#checkOpen(),
        loadAt: (oid, at) =>
          database.explain("read", () => this.#load(oid, this.#tidAt(at))),
        load: (oid, tid) =>
          database.explain("read", () => this.#load(oid, tid)),
        has: (oid, tid) => database.explain("read", () => this.#has(oid, tid)),
        length: (oid, tid) =>
          database.explain("read", () => this.#tables.length(oid, tid)),
        allocate: (count) => this.#allocate(count),
        news: (tid) => database.explain("read", () => this.#tables.news(tid)),
        commit: (view, records, accessed) =>
          database.explain(
            "commit to",
            () => this.#commit(view, records, accessed),
          ),
        forget: (view) => this.#views.delete(view),
      },
      database.explain(
        "read",
        () =>
          at === undefined ? this.#tables.state().tid : this.#tidAt(tidOf(at)),
      ),
      at !== undefined,
    );
    this.#views.set(view, letsGo && at === undefined);
    return new StorageSession(view);
  }

  /**
   * Calls `listener` after each commit of this object's sessions; not after
   * those of other processes. See {@linkcode Storage.onCommit}.
   */
  onCommit(listener: (news: CommitNews) => void): () => void {
    this.#checkOpen();
    return this.#listeners.add(listener);
  }

  /**
   * Goes through the transactions after a moment, of any process, the oldest
   * first. See {@linkcode Storage.changes}.
   *
   * @throws {StorageError} if a pack has forgotten them.
   */
  *changes(since: Tid): Generator<CommitNews, void> {
    this.#checkOpen();
    const database = this.#database;
    const moment = tidOf(since);
    let last = database.explain("read", () =>
      database.read(() => {
        this.#tables.checkRemembered(moment);
        return this.#tables.tidAt(moment);
      }));
    for (;;) {
      this.#checkOpen();
      const news = database.explain(
        "read",
        () => database.read(() => this.#tables.changesAfter(last, FEW_CHANGES)),
      );
      for (const { byPack, ...transaction } of news) {
        // What a pack has removed nothing referred to.
        if (!byPack) yield transaction;
      }
      if (news.length < FEW_CHANGES) return;
      last = news.at(-1)!.tid;
    }
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
  pack(options?: PackOptions): Progress {
    return packToEnd(this.packInSteps(options));
  }

  /** Does what `pack()` does, in steps. See {@linkcode Storage.packInSteps}. */
  packInSteps(
    { keep, prepack }: PackOptions = {},
  ): Generator<Progress, void> {
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

  *#steps(kept: Tid): Generator<Progress, void> {
    this.#checkOpen();
    if (this.#packing) {
      throw new StorageError(
        `Cannot pack ${this.path}: another pack is under way`,
      );
    }
    this.#packing = true;
    try {
      const steps = packSqlite(
        this.#database,
        this.#tables,
        (newest) => this.#oldest(Math.min(newest, kept)),
      );
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
    for (const view of [...this.#views.keys()]) view.close();
    this.#listeners.clear();
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

  /** Returns the oldest moment that must be readable, at most `newest`. */
  #oldest(newest: Tid): Tid {
    let oldest = newest;
    for (const [{ tid }, letsGo] of this.#views) {
      if (!letsGo && tid < oldest) oldest = tid;
    }
    return oldest;
  }

  #tidAt(moment: Tid): Tid {
    const tid = this.#tables.tidAt(moment);
    const { cut } = this.#tables.state();
    // The transaction itself may be gone, though nothing of it was dropped since.
    if (moment >= cut) return Math.max(tid, cut);
    throw new StorageError(
      `Cannot read ${this.path} as of ${
        describeTid(moment)
      }: a pack has dropped what was before ${describeTid(cut)}`,
    );
  }

  #load(oid: Oid, tid: Tid): Uint8Array | undefined {
    const record = this.#tables.read(oid, tid);
    if (record instanceof Uint8Array) return record;
    this.#checkKept(oid, tid, record === GONE);
    return undefined;
  }

  #has(oid: Oid, tid: Tid): boolean {
    const answer = this.#tables.has(oid, tid);
    if (answer !== true) this.#checkKept(oid, tid, answer === GONE);
    return answer === true;
  }

  /** Checks that what is not there was not dropped by a pack. */
  #checkKept(oid: Oid, tid: Tid, isGone: boolean): void {
    // A pack drops no revision, and no trace of an object, before it has said so here.
    const { cut, forgotten } = this.#tables.state();
    if (tid < (isGone ? cut : forgotten)) {
      throw new ReadConflictError(
        `Cannot load object #${oid}: another process has packed ${this.path}, and this transaction's snapshot may be gone; call abort() and start over`,
        { oids: [oid] },
      );
    }
    if (isGone) {
      throw this.#database.damaged(
        `a revision of object #${oid} that should be there is not`,
      );
    }
  }

  #allocate(count: number): Oid[] {
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
          const state = this.#tables.state();
          const { next } = state;
          if (this.readonly || count > LARGEST_OID - next) {
            throw new StorageError(
              `Cannot allocate ${least} numbers: there are no more`,
            );
          }
          this.#tables.setState({ ...state, next: next + count });
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
      this.#database.write(() => {
        const state = this.#tables.state();
        if (state.next !== this.#freeEnd) return;
        this.#tables.setState({ ...state, next: this.#free });
      });
    } catch {
      // They are just never used then.
    }
  }

  #commit(
    view: SqliteView,
    records: Records,
    accessed: (oid: Oid) => boolean,
  ): CommitResult {
    const result = this.#database.write((): CommitResult => {
      const { state, changed, removed } = this.#tables.news(view.tid);
      view.noteRemoved(removed);
      if (changed.some(accessed)) {
        return { invalid: changed, newest: state.tid };
      }
      if (view.knowsRemoved) {
        checkReferences(
          records,
          (oid) => view.removed.has(oid) && !this.#tables.place(oid)?.revision,
        );
      }
      const next = nextAfter(records.keys(), state.next);
      return { tid: this.#tables.store(state, records, next), changed };
    });
    if ("tid" in result) {
      this.#noteStored(records);
      const { tid } = result;
      this.#listeners.tell(() => ({ tid, oids: [...records.keys()] }));
    }
    return result;
  }

  /** Keeps numbers from being given out that somebody used without asking. */
  #noteStored(records: Records): void {
    if (records.has(ROOT_OID)) this.#rootIsFree = false;
    for (const oid of records.keys()) {
      if (oid >= this.#free && oid < this.#freeEnd) this.#free = oid + 1;
    }
  }
}
