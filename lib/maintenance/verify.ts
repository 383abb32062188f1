/**
 * Whether a database is as it should be.
 *
 * @module
 */
import type { Progress } from "../storage/storage.ts";
import { messageOf } from "../message.ts";
import { DharaError, StorageError } from "../errors.ts";
import { disk, type Files } from "../files/file.ts";

import { JournalVerifier } from "../storage/journal/verify.ts";
import { formatOf } from "../storage/file_format.ts";
import type { VerifyReport } from "../storage/verify_report.ts";
import { SqliteDatabase } from "../storage/sqlite/database.ts";
import { loadSqlite } from "../storage/sqlite/library.ts";
import { SqliteVerifier } from "../storage/sqlite/verify.ts";

export type { Format } from "../storage/file_format.ts";
export type { VerifyReport } from "../storage/verify_report.ts";

/** Settings of {@linkcode verify}. */
export interface VerifyOptions {
  /** Is called now and then. */
  readonly onProgress?: (progress: Progress) => void;
}

/** Lets others have a turn after so many milliseconds. */
const TURN = 20;

/**
 * Reads a whole database file, a journal or SQLite, and tells what is wrong
 * with it: every checksum and length, the order of the transactions, the references from each revision
 * to the one before, the index against the journal, and what can be reached
 * from the root. Nothing is changed, and a server may go on using the file: it
 * is read as it was when this began.
 *
 * @throws {StorageError} if it cannot be read, or is not a database.
 *
 * @example
 * ```ts
 * import { Connection, verify } from "@dhara/dhara";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const directory = Deno.makeTempDirSync();
 * const path = `${directory}/example.dhara`;
 * {
 *   using connection = new Connection(path);
 *   connection.root["hello"] = "world";
 *   connection.commit();
 * }
 * const report = await verify(path);
 * assert(report.good);
 * assertEquals(report.damage, []);
 * assertEquals(report.objects, 1);
 * Deno.removeSync(directory, { recursive: true });
 * ```
 */
export async function verify(
  path: string,
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  return await verifyOn(disk, path, options);
}

/** Does what `verify` does, on any file system; SQLite has its own. */
export async function verifyOn(
  files: Files,
  path: string,
  { onProgress }: VerifyOptions = {},
): Promise<VerifyReport> {
  let file: { close(): void } | undefined;
  try {
    if (files === disk && isSqlite(path)) {
      const database = file = new SqliteDatabase(await loadSqlite(path), path, {
        readonly: true,
      });
      return await inTurns(new SqliteVerifier(database).run(), onProgress);
    }
    const journal = file = files.open(path, { write: false });
    return await inTurns(new JournalVerifier(journal, path).run(), onProgress);
  } catch (error) {
    if (error instanceof DharaError) throw error;
    const why = error instanceof Deno.errors.NotFound
      ? "there is no such file"
      : messageOf(error);
    throw new StorageError(`Cannot verify ${path}: ${why}`, { cause: error });
  } finally {
    file?.close();
  }
}

function isSqlite(path: string): boolean {
  try {
    return formatOf(path) === "sqlite";
  } catch {
    // The journal's verifier tells more about files that are none.
    return false;
  }
}

async function inTurns(
  steps: Generator<Progress, VerifyReport>,
  onProgress: VerifyOptions["onProgress"],
): Promise<VerifyReport> {
  let turn = performance.now();
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    onProgress?.(step.value);
    if (performance.now() - turn < TURN) continue;
    await new Promise((resolve) => setTimeout(resolve));
    turn = performance.now();
  }
}
