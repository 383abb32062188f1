/**
 * What kind of file is at a path: its first bytes say so, whatever its name.
 *
 * @module
 */
import { StorageError } from "../errors.ts";
import { messageOf } from "../message.ts";
import { MAGIC } from "./journal/format.ts";
import { APPLICATION_ID } from "./sqlite/schema.ts";

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
      `Cannot open ${path}: ${messageOf(error)}`,
      { cause: error },
    );
  }
}
