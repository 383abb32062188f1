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
import { formatFor, formatOf } from "./storage/file_format.ts";
import { FileStorage } from "./storage/file_storage.ts";
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

/** Whether a name stands for a server, or means to. */
export function namesServer(place: string): boolean {
  return /^(tcp|unix):/.test(place);
}

/**
 * Returns how to reach the server that a name stands for, `tcp:HOST:PORT` or
 * `unix:PATH`; `undefined` if it is the path of a file.
 *
 * @throws {StorageError} if it begins as an address and is none.
 */
export function serverAt(place: string): ClientStorageOptions | undefined {
  if (/^unix:./.test(place)) return { address: place.slice(5) };
  if (!namesServer(place)) return undefined;
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
