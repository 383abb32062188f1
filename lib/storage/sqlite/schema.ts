/**
 * The tables of a SQLite file of ours, and whether a file has them as they
 * should be. `docs/format.md` describes them.
 *
 * @module
 */

/** `DHRA`: the number in the header of a SQLite file that says that it is ours. */
export const APPLICATION_ID = 0x44485241;

/** The version of the tables that are made now. */
export const VERSION = 3;

/** What SQLite lists of a table or an index. */
type Item = readonly [type: string, name: string, table: string, sql: string];

const SECOND: readonly Item[] = [
  [
    "table",
    "dhara",
    "dhara",
    `CREATE TABLE dhara (
  id INTEGER PRIMARY KEY CHECK (id = 0),
  next INTEGER NOT NULL,
  tid INTEGER NOT NULL,
  cut INTEGER NOT NULL,
  forgotten INTEGER NOT NULL,
  root INTEGER NOT NULL,
  crc INTEGER NOT NULL
)`,
  ],
  [
    "table",
    "object",
    "object",
    `CREATE TABLE object (
  oid INTEGER PRIMARY KEY,
  tid INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  crc INTEGER NOT NULL
)`,
  ],
  [
    "table",
    "revision",
    "revision",
    `CREATE TABLE revision (
  id INTEGER PRIMARY KEY,
  oid INTEGER NOT NULL,
  tid INTEGER NOT NULL,
  before INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  record BLOB
)`,
  ],
  [
    "index",
    "revision_by_object",
    "revision",
    "CREATE UNIQUE INDEX revision_by_object ON revision (oid, tid)",
  ],
  [
    "table",
    "changes",
    "changes",
    `CREATE TABLE changes (
  tid INTEGER PRIMARY KEY,
  before INTEGER NOT NULL,
  removed INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  oids BLOB NOT NULL
)`,
  ],
];

/** What came with version 3. */
const IDENTITY: Item = [
  "table",
  "identity",
  "identity",
  `CREATE TABLE identity (
  id INTEGER PRIMARY KEY CHECK (id = 0),
  crc INTEGER NOT NULL,
  bytes BLOB NOT NULL
)`,
];

const CURRENT: readonly Item[] = [...SECOND, IDENTITY];

const FIRST: readonly Item[] = [
  [
    "table",
    "dhara",
    "dhara",
    `CREATE TABLE dhara (
  id INTEGER PRIMARY KEY CHECK (id = 0),
  next INTEGER NOT NULL,
  tid INTEGER NOT NULL,
  cut INTEGER NOT NULL,
  forgotten INTEGER NOT NULL
)`,
  ],
  [
    "table",
    "revision",
    "revision",
    `CREATE TABLE revision (
  oid INTEGER NOT NULL,
  tid INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  record BLOB
)`,
  ],
  [
    "index",
    "revision_by_object",
    "revision",
    "CREATE UNIQUE INDEX revision_by_object ON revision (oid, tid)",
  ],
  [
    "index",
    "revision_by_transaction",
    "revision",
    "CREATE INDEX revision_by_transaction ON revision (tid, oid)",
  ],
  [
    "index",
    "revision_removed",
    "revision",
    "CREATE INDEX revision_removed ON revision (tid) WHERE record IS NULL",
  ],
];

/** Makes the tables. */
export const CREATE = CURRENT.map(([, , , sql]) => `${sql};`).join("\n");

/** Makes the table that came with version 3. */
export const CREATE_IDENTITY = IDENTITY[3];

/** The tables of each version that can be read. */
export const SCHEMAS: Readonly<Record<number, readonly Item[]>> = {
  1: FIRST,
  2: SECOND,
  [VERSION]: CURRENT,
};

/** Asks for what there is beside what SQLite makes for itself, such as statistics. */
export const LIST =
  "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";

/**
 * Returns what is wrong with the tables of a file, given the rows that
 * `LIST` asks for; `undefined` if nothing is.
 */
export function faultIn(
  rows: readonly Record<string, unknown>[],
  version: number,
): string | undefined {
  const missing = new Map(SCHEMAS[version]!.map((item) => [item[1], item]));
  for (const { type, name, tbl_name: table, sql } of rows) {
    const item = missing.get(String(name));
    if (item === undefined) {
      return `it has a ${type} ${name}, which is not ours`;
    }
    const found = [type, name, table, sql];
    if (item.some((value, i) => value !== found[i])) {
      return `its ${item[0]} ${name} is not what it should be`;
    }
    missing.delete(item[1]);
  }
  const [item] = missing.values();
  return item && `its ${item[0]} ${item[1]} is not there`;
}
