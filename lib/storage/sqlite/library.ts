/**
 * The libraries that know SQLite: `@db/sqlite`, and where it cannot be loaded
 * the `node:sqlite` that is in Deno. Only what both have is used.
 *
 * @module
 */
import { messageOf } from "../../message.ts";
import { type DamagedFileError, StorageError } from "../../errors.ts";

/** The value of a column. One that is read may also be a bigint: then it is damaged. */
export type Value = number | string | Uint8Array | null;

/** A prepared statement. */
export interface Statement {
  run(...values: Value[]): unknown;
  get(...values: Value[]): unknown;
  all(...values: Value[]): unknown;
}

/** An open database. */
export interface Sqlite {
  exec(sql: string): unknown;
  prepare(sql: string): Statement;
  close(): void;
}

/** The class of either library; `node:sqlite` needs no more than `readonly`. */
export type SqliteClass = new (
  path: string,
  options: {
    readonly: boolean;
    create: boolean;
    /** Otherwise `@db/sqlite` cuts integers to 32 bits. */
    int64: boolean;
  },
) => Sqlite;

/** Loads a library, of which the first is the one that is used where it can be. */
export type Loader = () => Promise<{ Database: SqliteClass }>;

/** One row of an answer. */
export type Row = Record<string, Value>;

/** SQL on an open file. */
export interface Sql {
  /** Runs a statement. */
  run(sql: string, ...values: Value[]): void;
  /** Returns the first row of the answer, `undefined` if there is none. */
  get(sql: string, ...values: Value[]): Row | undefined;
  /** Returns the rows of the answer. */
  all(sql: string, ...values: Value[]): Row[];
  /** Runs many statements. */
  exec(sql: string): void;
  /** Notes that the file is damaged, and returns the error that says so. */
  damaged(what: string): DamagedFileError;
}

/** The libraries, by name. Loading one opens it, so they are not imported above. */
const LIBRARIES: Record<string, Loader> = {
  "@db/sqlite": async () => {
    // Importing it would stop a program at a terminal and ask for the permission.
    const { state } = await Deno.permissions.query({ name: "ffi" });
    if (state !== "granted") throw new Error("it needs --allow-ffi");
    return await import("@db/sqlite") as unknown as { Database: SqliteClass };
  },
  "node:sqlite": async () => await import("./node.ts"),
};

/**
 * Returns the class of the first library that loads.
 *
 * @throws {StorageError} if there is none; the message says why, for each.
 */
export async function loadSqlite(
  path: string,
  libraries = LIBRARIES,
): Promise<SqliteClass> {
  const errors: unknown[] = [];
  const reasons: string[] = [];
  for (const [name, load] of Object.entries(libraries)) {
    try {
      return (await load()).Database;
    } catch (error) {
      errors.push(error);
      reasons.push(`${name}: ${reasonsOf(error)}`);
    }
  }
  throw new StorageError(
    `Cannot open ${path}: SQLite cannot be loaded (${reasons.join("; ")})`,
    { cause: errors.length === 1 ? errors[0] : new AggregateError(errors) },
  );
}

/** What an error says, and what those say that led to it. */
function reasonsOf(error: unknown): string {
  const reasons = new Set<string>();
  // A chain of causes may be a circle.
  for (let depth = 0; error !== undefined && depth < 10; depth++) {
    reasons.add(messageOf(error).split("\n")[0]!);
    error = error instanceof Error ? error.cause : undefined;
  }
  return [...reasons].join(", since ");
}
