/**
 * A SQLite file that holds a database of ours: opening and making one, running
 * SQL, and errors in plain words. It uses only what `@db/sqlite` and
 * `node:sqlite` both have. `docs/format.md` describes the tables.
 *
 * @module
 */
import { existsSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import {
  DamagedFileError,
  DharaError,
  StorageError,
  StorageLockedError,
} from "../errors.ts";

/** Settings of a storage in SQLite. */
export interface SqliteStorageOptions {
  /** Open it for reading only: nothing is stored, and nobody is kept from writing. */
  readonly?: boolean;
  /**
   * Whether a commit waits until it is on the disk: true by default. Without
   * it commits are much faster, a crash of the program still loses nothing,
   * but a crash of the machine may lose the last ones.
   */
  sync?: boolean;
  /** Whether to make the file if there is none: true by default. */
  create?: boolean;
  /** How long to wait for another process that is writing, in milliseconds: 30,000 by default. */
  timeout?: number;
}

/** The value of a column. */
export type Value = number | string | Uint8Array | null;

/** One row of an answer. */
export type Row = Record<string, Value>;

interface Statement {
  run(...values: Value[]): unknown;
  get(...values: Value[]): unknown;
  all(...values: Value[]): unknown;
}

/** What both libraries have. */
interface Sqlite {
  exec(sql: string): unknown;
  prepare(sql: string): Statement;
  close(): void;
}

/** The class of either library. */
export type SqliteClass = new (
  path: string,
  options: Record<string, boolean>,
) => Sqlite;

/** `DHRA`: the number in the header of a SQLite file that says that it is ours. */
export const APPLICATION_ID = 0x44485241;
/** The version of the tables. */
const VERSION = 1;

const TABLES = `
CREATE TABLE dhara (
  id INTEGER PRIMARY KEY CHECK (id = 0),
  next INTEGER NOT NULL,
  tid INTEGER NOT NULL,
  cut INTEGER NOT NULL,
  forgotten INTEGER NOT NULL
);
INSERT INTO dhara VALUES (0, 0, 0, 0, 0);
CREATE TABLE revision (
  oid INTEGER NOT NULL,
  tid INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  record BLOB
);
CREATE UNIQUE INDEX revision_by_object ON revision (oid, tid);
CREATE INDEX revision_by_transaction ON revision (tid, oid);
CREATE INDEX revision_removed ON revision (tid) WHERE record IS NULL;
PRAGMA application_id = ${APPLICATION_ID};
PRAGMA user_version = ${VERSION};
`;

/** An open SQLite file. */
export class SqliteDatabase {
  /** The file, as it was given. */
  readonly path: string;
  readonly #sqlite: Sqlite;
  readonly #statements = new Map<string, Statement>();

  /** Opens a file, and makes it if there is none. */
  constructor(
    Database: SqliteClass,
    path: string,
    options: SqliteStorageOptions,
  ) {
    const { readonly = false, sync = true, create = true, timeout = 30_000 } =
      options;
    this.path = path;
    if (path === "") {
      throw new StorageError("Cannot open a storage: the path is empty");
    }
    if (!Number.isSafeInteger(timeout) || timeout < 0) {
      throw new StorageError(
        `Cannot open ${path}: timeout must be a whole number of milliseconds, not ${timeout}`,
      );
    }
    const size = this.#size();
    if (size === undefined && (readonly || !create)) {
      throw new StorageError(`Cannot open ${path}: there is no such file`);
    }
    if (size === undefined && !existsSync(dirname(resolve(path)))) {
      throw new StorageError(
        `Cannot open ${path}: the folder that it should be in is not there`,
      );
    }
    this.#sqlite = this.explain("open", () =>
      // A whole path is never one of the names that mean something to SQLite.
      new Database(resolve(path), {
        readonly, // @db/sqlite
        readOnly: readonly, // node:sqlite
        create: create || size !== undefined,
        int64: true, // Otherwise @db/sqlite cuts integers to 32 bits.
      }));
    try {
      this.explain("open", () => {
        this.#sqlite.exec(`PRAGMA busy_timeout = ${timeout}`);
        this.#open(readonly, timeout);
        this.#sqlite.exec(`PRAGMA synchronous = ${sync ? "FULL" : "NORMAL"}`);
      });
    } catch (error) {
      this.#sqlite.close();
      throw error;
    }
  }

  /** Runs a statement. */
  run(sql: string, ...values: Value[]): void {
    this.#prepare(sql).run(...values);
  }

  /** Returns the first row of the answer, `undefined` if there is none. */
  get(sql: string, ...values: Value[]): Row | undefined {
    return this.#prepare(sql).get(...values) as Row | undefined;
  }

  /** Returns the rows of the answer. */
  all(sql: string, ...values: Value[]): Row[] {
    return this.#prepare(sql).all(...values) as Row[];
  }

  /** Runs a pragma, which does its work as its answer is read. */
  pragma(sql: string): void {
    this.#sqlite.exec(sql);
  }

  /** Runs work that writes as one transaction: all of it or nothing, and nobody else writes meanwhile. */
  write<T>(work: () => T): T {
    this.run("BEGIN IMMEDIATE");
    try {
      const result = work();
      this.run("COMMIT");
      return result;
    } catch (error) {
      try {
        this.#sqlite.exec("ROLLBACK");
      } catch {
        // SQLite has done it.
      }
      throw error;
    }
  }

  /** Closes it. */
  close(): void {
    this.#statements.clear();
    this.#sqlite.close();
  }

  /** Runs work on the file, and says what it means if SQLite fails. */
  explain<T>(what: string, work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (error instanceof DharaError) throw error;
      throw this.#explained(`Cannot ${what} ${this.path}`, error);
    }
  }

  /** Says that what was read cannot be. */
  damaged(what: string, cause?: unknown): DamagedFileError {
    return new DamagedFileError(
      `Cannot read ${this.path}: ${what}; restore it from a backup`,
      { path: this.path, offset: 0 },
      { cause },
    );
  }

  #prepare(sql: string): Statement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#sqlite.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #size(): number | undefined {
    return this.explain("open", () => {
      const info = statSync(this.path, { throwIfNoEntry: false });
      if (info === undefined || info.isFile()) return info?.size;
      throw new StorageError(
        `Cannot open ${this.path}: it is not a regular file`,
      );
    });
  }

  #explained(begin: string, error: unknown): StorageError {
    const cause = error instanceof Error ? error : new Error(String(error));
    // Code and class of the errors differ between the libraries; SQLite's texts do not.
    const { message } = cause;
    if (/is locked|is busy/.test(message)) {
      return new StorageLockedError(
        `${begin}: another process was writing all the time; try again`,
        { cause },
      );
    }
    if (/malformed|not a database|no such (table|column)/.test(message)) {
      return new DamagedFileError(
        `${begin}: the file is damaged (${message}); restore it from a backup`,
        { path: this.path, offset: 0 },
        { cause },
      );
    }
    return new StorageError(`${begin}: ${message}`, { cause });
  }

  #number(pragma: string): number {
    return Object.values(this.get(`PRAGMA ${pragma}`) ?? {})[0] as number;
  }

  /** Checks that the file is ours, and makes the tables if it is empty. */
  #open(readonly: boolean, timeout: number): void {
    let application: number;
    try {
      application = this.#number("application_id");
    } catch (error) {
      if (!/not a database/.test(String(error))) throw error;
      throw new StorageError(
        `Cannot open ${this.path}: it is not a SQLite database`,
        { cause: error },
      );
    }
    if (application === 0 && this.#isEmpty()) {
      if (readonly) {
        throw new StorageError(`Cannot open ${this.path}: it is empty`);
      }
      this.#create();
      application = this.#number("application_id");
    }
    if (application !== APPLICATION_ID) {
      throw new StorageError(
        `Cannot open ${this.path}: it is a SQLite database of another program`,
      );
    }
    const version = this.#number("user_version");
    if (version !== VERSION) {
      throw new StorageError(
        `Cannot open ${this.path}: its tables are of version ${version}, and this program knows version ${VERSION}`,
      );
    }
    if (!readonly) this.#useLog(timeout);
    if (this.get("SELECT 1 FROM dhara") === undefined) {
      throw this.damaged("the table dhara is empty");
    }
  }

  #isEmpty(): boolean {
    return this.get("SELECT 1 FROM sqlite_schema LIMIT 1") === undefined;
  }

  #create(): void {
    // It only counts before there is any table. Packing gives pages back to the disk.
    this.#sqlite.exec("PRAGMA auto_vacuum = INCREMENTAL");
    this.#sqlite.exec("BEGIN EXCLUSIVE");
    try {
      // Another process may have been faster.
      if (this.#isEmpty()) this.#sqlite.exec(TABLES);
      this.#sqlite.exec("COMMIT");
    } catch (error) {
      this.#sqlite.exec("ROLLBACK");
      throw error;
    }
  }

  /** Switches to write-ahead logging, for which SQLite does not wait by itself. */
  #useLog(timeout: number): void {
    const end = Date.now() + timeout;
    for (;;) {
      try {
        const mode = this.get("PRAGMA journal_mode = WAL")?.["journal_mode"];
        if (mode === "wal") return;
        throw new StorageError(
          `Cannot open ${this.path}: its file system cannot do write-ahead logging`,
        );
      } catch (error) {
        if (!/is locked/.test(String(error)) || Date.now() > end) throw error;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
      }
    }
  }
}
