/** Flips bits of a small SQLite file, one at a time, and sees what comes of it. */
import { Database } from "./sqlite.ts";
import { assert } from "@std/assert";
import { DamagedFileError, DharaError } from "../../lib/errors.ts";
import { SqliteStorage } from "../../lib/storage/sqlite_storage.ts";
import type { Session } from "../../lib/storage/storage.ts";
import { verify } from "../../lib/maintenance/verify.ts";
import { store, textOf, textRecord } from "../../lib/testing/records.ts";

/** A small file, and what a session on it reads at each moment. */
export interface Sample {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Every object that the file has or had, and one that it never had. */
  readonly oids: readonly number[];
  readonly moments: ReadonlyMap<number | undefined, string>;
}

/**
 * Makes a file with old revisions, a removed object and one that is not linked;
 * with `more` objects, which take more pages than one.
 */
export async function makeSample(path: string, more = 0): Promise<Sample> {
  const oids = Array.from({ length: 7 + more }, (_, i) => i);
  const tids: number[] = [];
  {
    using storage = await SqliteStorage.open(path);
    using session = storage.session();
    store(session, textRecord(0, "root", [1]), textRecord(1, "one", [2]));
    store(session, textRecord(2, "two"), textRecord(3, "garbage"));
    storage.pack();
    session.sync();
    for (const text of ["second", "third"]) {
      tids.push(
        store(session, textRecord(0, text, [1, 4]), textRecord(4, text)),
      );
    }
    tids.push(store(session, textRecord(5, "not linked")));
    for (const oid of oids.slice(7)) {
      store(session, textRecord(oid, `many ${oid}`));
      if (oid % 3 === 0) store(session, textRecord(oid, `more ${oid}`));
    }
  }
  // Small pages make a small file.
  const database = new Database(path);
  database.exec("PRAGMA page_size = 512; VACUUM");
  database.close();
  const bytes = Deno.readFileSync(path);
  const moments = new Map<number | undefined, string>();
  {
    using storage = await SqliteStorage.open(path, { readonly: true });
    for (const at of [undefined, ...tids]) {
      using session = storage.session(at === undefined ? {} : { at });
      moments.set(at, oids.map((oid) => look(session, oid)).join());
    }
  }
  return { bytes, oids, moments };
}

/** What a session reads of an object, `!` if that is an error. */
function look(session: Session, oid: number): string {
  let text: string;
  try {
    text = textOf(session, oid);
  } catch (error) {
    if (!(error instanceof DharaError)) throw error;
    text = error instanceof DamagedFileError ? "!" : "-";
  }
  try {
    return session.has(oid) === (text !== "-") ? text : `${text}?`;
  } catch (error) {
    if (!(error instanceof DharaError)) throw error;
    return "!";
  }
}

/** What flipping a bit has led to. */
export type Outcome = "harmless" | "refused" | "seen" | "found by verify";

/**
 * Flips one bit and reads the file.
 *
 * @throws {Error} if something reads wrong and nobody notices, or something is committed after damage was seen.
 */
export async function flip(
  path: string,
  { bytes, oids, moments }: Sample,
  bit: number,
): Promise<Outcome> {
  const changed = bytes.slice();
  changed[bit >> 3]! ^= 1 << (bit & 7);
  Deno.writeFileSync(path, changed);
  let wrong: string | undefined;
  let seen = false;
  try {
    using storage = await SqliteStorage.open(path, { readonly: true });
    for (const [at, expected] of moments) {
      using session = storage.session(at === undefined ? {} : { at });
      const found = oids.map((oid) => look(session, oid)).join();
      if (found === expected) continue;
      if (found.includes("!")) seen = true;
      else wrong ??= `${expected} reads ${found} as of ${at}`;
    }
  } catch (error) {
    if (!(error instanceof DharaError)) throw error;
    seen = true;
  }
  if (!seen && wrong === undefined) return "harmless";
  if (wrong !== undefined) {
    let good: boolean;
    try {
      good = (await verify(path)).good;
    } catch (error) {
      if (!(error instanceof DharaError)) throw error;
      good = false;
    }
    if (good) throw new Error(`bit ${bit}: ${wrong}, and verify finds nothing`);
  }
  return seen ? await commit(path, oids, bit) : "found by verify";
}

/** Makes sure that nothing is committed after damage was seen. */
async function commit(
  path: string,
  oids: readonly number[],
  bit: number,
): Promise<Outcome> {
  let storage: SqliteStorage;
  try {
    storage = await SqliteStorage.open(path, { sync: false });
  } catch (error) {
    if (!(error instanceof DharaError)) throw error;
    return "refused";
  }
  try {
    using session = storage.session();
    const seen = oids.some((oid) => look(session, oid).includes("!"));
    if (!seen) return "seen";
    const result = session.commit([textRecord(0, "on top")]);
    throw new Error(
      `bit ${bit}: committed ${JSON.stringify(result)} after damage was seen`,
    );
  } catch (error) {
    assert(error instanceof DharaError, String(error));
    return "seen";
  } finally {
    storage.close();
  }
}
