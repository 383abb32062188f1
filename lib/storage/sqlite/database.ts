/**
 * A SQLite file that holds a database of ours: opening and making one, running
 * SQL, and errors in plain words.
 *
 * @module
 */
import { sleepSync } from "../../sleep.ts";
import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import {
  DamagedFileError,
  DharaError,
  StorageError,
  StorageLockedError,
} from "../../errors.ts";
import type {
  Row,
  Sql,
  Sqlite,
  SqliteClass,
  Statement,
  Value,
} from "./library.ts";
import { migrate } from "./migrate.ts";
import {
  APPLICATION_ID,
  CREATE,
  faultIn,
  LIST,
  SCHEMAS,
  VERSION,
} from "./schema.ts";
import { addIdentity, stateChecksum } from "./rows.ts";

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

/** An open SQLite file. */
export class SqliteDatabase implements Sql {
  /** The file, as it was given. */
  readonly path: string;
  readonly #whole: string;
  readonly #sqlite: Sqlite;
  readonly #statements = new Map<string, Statement>();
  readonly #readonly: boolean;
  readonly #identity: string | undefined;
  /** The damage that was seen first. */
  #damage: DamagedFileError | undefined;

  /** Opens a file, and makes it if there is none. */
  constructor(
    Database: SqliteClass,
    path: string,
    options: SqliteStorageOptions,
  ) {
    const { readonly = false, sync = true, create = true, timeout = 30_000 } =
      options;
    this.path = path;
    this.#readonly = readonly;
    if (path === "") {
      throw new StorageError("Cannot open a storage: the path is empty");
    }
    if (!Number.isSafeInteger(timeout) || timeout < 0) {
      throw new StorageError(
        `Cannot open ${path}: timeout must be a whole number of milliseconds, not ${timeout}`,
      );
    }
    // A whole path is never one of the names that mean something to SQLite,
    // and stays right whatever the current directory becomes.
    this.#whole = resolve(path);
    const found = this.#identify();
    if (found === undefined && (readonly || !create)) {
      throw new StorageError(`Cannot open ${path}: there is no such file`);
    }
    if (found === undefined && !existsSync(dirname(this.#whole))) {
      throw new StorageError(
        `Cannot open ${path}: the folder that it should be in is not there`,
      );
    }
    this.#sqlite = this.explain("open", () =>
      new Database(this.#whole, {
        readonly,
        create: create || found !== undefined,
        int64: true,
      }));
    try {
      this.#identity = this.#identify();
      this.explain("open", () => {
        this.#sqlite.exec(`PRAGMA busy_timeout = ${timeout}`);
        this.#open(timeout);
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

  /** Runs SQL of which nobody wants the answer: many statements, or a pragma that works as it is read. */
  exec(sql: string): void {
    this.#sqlite.exec(sql);
  }

  /** Runs work that only reads, so that all of it sees one moment. */
  read<T>(work: () => T): T {
    this.exec("BEGIN");
    try {
      return work();
    } finally {
      this.exec("ROLLBACK");
    }
  }

  /**
   * Runs work that writes as one transaction: all of it or nothing, and nobody
   * else writes meanwhile. Nothing is written where damage was seen, or to a
   * file that has no name any more.
   */
  write<T>(work: () => T): T {
    if (this.#damage !== undefined) {
      throw new DamagedFileError(
        `Cannot write to ${this.path}: damage was found in it, and nothing was stored; see what dhara db verify says, and restore it from a backup (${this.#damage.message})`,
        { path: this.path, offset: 0 },
        { cause: this.#damage },
      );
    }
    if (this.#identify() !== this.#identity) {
      throw new StorageError(
        `Cannot commit to ${this.path}: the file was removed, or another one was put in its place, while it was open; nothing was stored, and all that is in it is gone once it is closed: store what is needed elsewhere before that`,
      );
    }
    this.run("BEGIN IMMEDIATE");
    try {
      const result = work();
      this.run("COMMIT");
      return result;
    } catch (error) {
      try {
        this.exec("ROLLBACK");
      } catch {
        // SQLite has done it.
      }
      throw error;
    }
  }

  /** Closes it. */
  close(): void {
    this.#statements.clear();
    try {
      if (!this.#readonly) this.#leaveLog();
    } finally {
      this.#sqlite.close();
    }
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

  /** Says that what was read cannot be; nothing is written from now on. */
  damaged(what: string, cause?: unknown): DamagedFileError {
    return this.#seen(
      new DamagedFileError(
        `Cannot read ${this.path}: ${what}; restore it from a backup`,
        { path: this.path, offset: 0 },
        { cause },
      ),
    );
  }

  #seen(damage: DamagedFileError): DamagedFileError {
    this.#damage ??= damage;
    return damage;
  }

  #prepare(sql: string): Statement {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#sqlite.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  /** Returns what tells the file at the path from others; `undefined` if there is none. */
  #identify(): string | undefined {
    let info: Deno.FileInfo;
    try {
      info = Deno.statSync(this.#whole);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw this.#explained(`Cannot open ${this.path}`, error);
    }
    if (info.isFile) return `${info.dev} ${info.ino}`;
    throw new StorageError(
      `Cannot open ${this.path}: it is not a regular file`,
    );
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
    if (
      /malformed|not a database|no such (table|column)|too large to be represented/
        .test(message)
    ) {
      return this.#seen(
        new DamagedFileError(
          `${begin}: the file is damaged (${message}); restore it from a backup`,
          { path: this.path, offset: 0 },
          { cause },
        ),
      );
    }
    if (
      this.#readonly && /readonly database|unable to open/.test(message) &&
      existsSync(`${this.#whole}-wal`)
    ) {
      return new StorageError(
        `${begin}: the last changes are still in ${this.path}-wal, where they can be read only together with ${this.path}-shm; open it once where it may be written to, and close it`,
        { cause },
      );
    }
    return new StorageError(`${begin}: ${message}`, { cause });
  }

  #number(pragma: string): number {
    return Object.values(this.get(`PRAGMA ${pragma}`) ?? {})[0] as number;
  }

  /** Checks that the file is ours, and makes the tables if it is empty. */
  #open(timeout: number): void {
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
      if (this.#readonly) {
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
    const version = this.#checkTables();
    if (version !== VERSION && this.#readonly) {
      throw new StorageError(
        `Cannot open ${this.path} for reading only: its tables are of version ${version}; open it once for writing, which brings them up to version ${VERSION}`,
      );
    }
    if (!this.#readonly) this.#useLog(timeout);
    if (version === VERSION) return;
    this.#statements.clear();
    this.write(() => {
      // Another process may have been faster.
      if (this.#number("user_version") === version) migrate(this, version);
    });
    this.#statements.clear();
    this.#checkTables();
  }

  /** Checks that the tables are those of a version that is known, and returns it. */
  #checkTables(): number {
    const version = this.#number("user_version");
    if (SCHEMAS[version] === undefined) {
      throw new StorageError(
        `Cannot open ${this.path}: its tables are of version ${version}, and this program knows version ${VERSION}`,
      );
    }
    const fault = faultIn(this.all(LIST), version);
    if (fault !== undefined) throw this.damaged(fault);
    if (this.#number("auto_vacuum") !== 2) {
      throw this.damaged("its header does not say how its pages are kept");
    }
    return version;
  }

  #isEmpty(): boolean {
    return this.get("SELECT 1 FROM sqlite_schema LIMIT 1") === undefined;
  }

  #create(): void {
    // It only counts before there is any table. Packing gives pages back to the disk.
    this.exec("PRAGMA auto_vacuum = INCREMENTAL");
    this.exec("BEGIN EXCLUSIVE");
    try {
      // Another process may have been faster.
      if (this.#isEmpty()) {
        this.exec(CREATE);
        const crc = stateChecksum({
          next: 0,
          tid: 0,
          cut: 0,
          forgotten: 0,
          root: 0,
        });
        this.exec(`INSERT INTO dhara VALUES (0, 0, 0, 0, 0, 0, ${crc})`);
        addIdentity(this);
        this.exec(`PRAGMA application_id = ${APPLICATION_ID}`);
        this.exec(`PRAGMA user_version = ${VERSION}`);
      }
      this.exec("COMMIT");
    } catch (error) {
      this.exec("ROLLBACK");
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
        sleepSync(5);
      }
    }
  }

  /**
   * Whoever is the last to close the file leaves it without a log, so that it
   * is one file, which can be read where nothing can be written.
   */
  #leaveLog(): void {
    try {
      this.exec("PRAGMA busy_timeout = 0");
      this.exec("PRAGMA journal_mode = DELETE");
    } catch {
      // Others are using it, or it can be written no more: the log stays good.
    }
  }
}
