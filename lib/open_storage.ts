/**
 * Opens a database wherever it is: behind a server, or in a file of any format,
 * whose first bytes say which.
 *
 * @module
 */
import { StorageError } from "./errors.ts";
import {
  ClientStorage,
  type ClientStorageOptions,
} from "./client/client_storage.ts";
import { FileStorage } from "./storage/file_storage.ts";
import { MAGIC } from "./storage/journal/format.ts";
import { APPLICATION_ID } from "./storage/sqlite/schema.ts";
import { SqliteStorage } from "./storage/sqlite_storage.ts";
import type { Storage } from "./storage/storage.ts";

/** Settings of {@linkcode openStorage}. */
export interface OpenStorageOptions {
  /** Open it for reading only. */
  readonly?: boolean;
  /**
   * Whether a commit waits until it is on the disk: true by default. Without
   * it commits are much faster, a crash of the program still loses nothing,
   * but a crash of the machine may lose the last ones.
   */
  sync?: boolean;
  /** Whether to make the file if there is none: true by default. */
  create?: boolean;
  /** Cut a damaged journal where the damage begins, and save the rest. SQLite files cannot be repaired. */
  repair?: boolean;
}

/** The formats of databases. */
export type Format = "journal" | "sqlite";

/** How the names of SQLite files end. */
const SQLITE_NAME = /\.(sqlite3?|db3?)$/i;

/** What other files begin with. */
const STRANGERS: readonly (readonly [RegExp | string, string])[] = [
  [
    /^(SHELF-1\n|DFS20)/,
    "it is a file of Durus; serve it with Durus, and read it through its server",
  ],
  [/^FS[23]\d/, "it is a file of ZODB"],
  ["\x1f\x8b", "it is a gzip file; unpack it first"],
  ["PK\x03\x04", "it is a zip file; unpack it first"],
  ["\x28\xb5\x2f\xfd", "it is a Zstandard file; unpack it first"],
  [
    /^\{"dhara":"export"/,
    "it is an export as text; `dhara db import` makes a database of it",
  ],
  [/^\s*[[{]/, "it looks like JSON"],
  [/^[\t\n\r\x20-\x7e\x80-\xff]+$/, "it looks like text"],
];

/** The format that a new file of this name gets. */
export function formatFor(path: string): Format {
  return SQLITE_NAME.test(path) ? "sqlite" : "journal";
}

/**
 * Returns the format of the file at a path; `undefined` if there is no file,
 * or it is empty.
 *
 * @throws {StorageError} if it is anything else; the message says what it seems to be.
 */
export function formatOf(path: string): Format | undefined {
  const begin = firstBytes(path);
  if (begin.length === 0) return undefined;
  const text = String.fromCharCode(...begin);
  // One that was cut short while it was made is a journal too.
  if (text.startsWith(MAGIC) || MAGIC.startsWith(text)) return "journal";
  if (text.startsWith("SQLite format 3\0")) {
    const application = new DataView(begin.buffer);
    if (begin.length >= 72 && application.getUint32(68) === APPLICATION_ID) {
      return "sqlite";
    }
    throw new StorageError(
      `Cannot open ${path}: it is a SQLite database of another program`,
    );
  }
  const zeros = begin.every((byte) => byte === 0);
  const stranger = STRANGERS.find(([begin]) =>
    typeof begin === "string" ? text.startsWith(begin) : begin.test(text)
  )?.[1];
  throw new StorageError(
    `Cannot open ${path}: it is not a Dhara database; ${
      zeros ? "it begins with nothing but zeros" : stranger ??
        "nobody here knows what it is"
    }`,
  );
}

/**
 * Returns how to reach the server that a name stands for, `tcp:HOST:PORT` or
 * `unix:PATH`; `undefined` if it is the path of a file.
 *
 * @throws {StorageError} if it begins as an address and is none.
 */
export function serverAt(place: string): ClientStorageOptions | undefined {
  if (/^unix:./.test(place)) return { address: place.slice(5) };
  if (!/^(tcp|unix):/.test(place)) return undefined;
  const [, host, port] = /^tcp:(.+):(\d+)$/.exec(place) ?? [];
  if (host === undefined || Number(port) > 65535) {
    throw new StorageError(
      `Cannot open ${place}: a server is tcp:HOST:PORT or unix:PATH, and a file of such a name is ./${place}`,
    );
  }
  return { host: host.replace(/^\[(.*)\]$/, "$1"), port: Number(port) };
}

/**
 * Opens the database at a place: behind a server if it is `tcp:HOST:PORT` or
 * `unix:PATH`, otherwise in a file, whatever its format. If there is no file,
 * or it is empty, a new database is made: in SQLite if the name ends in
 * `.sqlite`, `.sqlite3`, `.db` or `.db3`, otherwise a journal.
 *
 * @throws {StorageError} if it is not a database of ours, or cannot be opened;
 * the message says what the file seems to be.
 * @throws {ServerUnavailableError} if no server answers at the address.
 *
 * @example
 * ```ts
 * import { openStorage, SqliteStorage } from "@dhara/dhara";
 * import { assert } from "@std/assert";
 *
 * const directory = Deno.makeTempDirSync();
 * {
 *   using storage = await openStorage(`${directory}/example.sqlite`);
 *   assert(storage instanceof SqliteStorage);
 * }
 * Deno.removeSync(directory, { recursive: true });
 * ```
 */
export async function openStorage(
  place: string,
  options: OpenStorageOptions = {},
): Promise<Storage> {
  if (place === "") {
    throw new StorageError("Cannot open a storage: the path is empty");
  }
  const { repair = false, ...rest } = options;
  const server = serverAt(place);
  if (server !== undefined) {
    if (repair || rest.readonly || rest.sync === false) {
      throw new StorageError(
        `Cannot open ${place} ${
          repair
            ? "with repair"
            : rest.readonly
            ? "for reading only"
            : "without sync"
        }: that is for the server to say when it is started`,
      );
    }
    return new ClientStorage(server);
  }
  const format = formatOf(place) ?? formatFor(place);
  if (format === "journal") return new FileStorage(place, { ...rest, repair });
  if (repair) {
    throw new StorageError(
      `Cannot repair ${place}: it is a SQLite database; restore it from a backup`,
    );
  }
  return await SqliteStorage.open(place, rest);
}

/**
 * Opens the journal at a path at once, which other kinds of databases cannot be.
 *
 * @throws {StorageError} if another kind is there, or is meant by the name.
 */
export function openJournal(
  place: string,
  options: { readonly: boolean },
): FileStorage {
  const other = serverAt(place)
    ? "it is the address of a server"
    : isSqlite(place)
    ? "it is a SQLite database"
    : isSqlite(place) === undefined && formatFor(place) === "sqlite"
    ? "a new file of that name is a SQLite database"
    : undefined;
  if (other === undefined) return new FileStorage(place, options);
  throw new StorageError(
    `Cannot open ${place} with new Connection(): ${other}; use await Connection.open(${
      JSON.stringify(place)
    })`,
  );
}

/** `undefined` if there is nothing. */
function isSqlite(path: string): boolean | undefined {
  try {
    const format = formatOf(path);
    return format && format === "sqlite";
  } catch {
    // What is wrong with it, opening it tells.
    return false;
  }
}

function firstBytes(path: string): Uint8Array<ArrayBuffer> {
  try {
    // Opening a pipe might wait for ever.
    if (!Deno.statSync(path).isFile) {
      throw new StorageError(`Cannot open ${path}: it is not a regular file`);
    }
    using file = Deno.openSync(path);
    const bytes = new Uint8Array(100);
    return bytes.slice(0, file.readSync(bytes) ?? 0);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return new Uint8Array();
    if (error instanceof StorageError) throw error;
    throw new StorageError(
      `Cannot open ${path}: ${error instanceof Error ? error.message : error}`,
      { cause: error },
    );
  }
}
