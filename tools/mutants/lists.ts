/**
 * All bugs that `deno task mutants` plants, one list for each part of the code.
 *
 * @module
 */
import client from "./client.ts";
import connection from "./connection.ts";
import journal from "./journal.ts";
import maintenance from "./maintenance.ts";
import server from "./server.ts";
import sessions from "./sessions.ts";
import sqlite from "./sqlite.ts";
import workers from "./workers.ts";
import type { MutantList } from "./mutant.ts";

/** All lists. */
export const LISTS: readonly MutantList[] = [
  sessions,
  journal,
  sqlite,
  server,
  client,
  connection,
  maintenance,
  workers,
];
