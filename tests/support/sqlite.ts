/**
 * The class of the library that storages use. Two libraries in one process
 * would take each other's locks away.
 */
import { loadSqlite } from "../../lib/storage/sqlite/library.ts";
import type { Database as NodeDatabase } from "../../lib/storage/sqlite/node.ts";

const loaded: unknown = await loadSqlite("the files of the tests");

/** An open SQLite file. */
export const Database = loaded as typeof NodeDatabase;
/** An open SQLite file. */
export type Database = NodeDatabase;
