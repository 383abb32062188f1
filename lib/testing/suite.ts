/**
 * What the tests of all topics work with.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import { ReadConflictError } from "../errors.ts";
import type { Oid } from "../serialize/record.ts";
import type { Session, Storage } from "../storage/storage.ts";
import { textOf } from "./records.ts";

/** One storage to try, empty, for one test. */
export interface StorageTrial {
  /** The storage. */
  readonly storage: Storage;
  /** Closes the storage, and opens it again with what it holds; absent if it holds nothing then. */
  reopen?(): Storage | Promise<Storage>;
  /** Cleans up; the storage may be closed already. */
  dispose(): void | Promise<void>;
}

/**
 * What a storage does otherwise than most. What it cannot do at all its
 * `features` tell: the tests see that it refuses that.
 */
export interface StorageTestOptions {
  /**
   * Whether an old revision can always be read as long as a session's snapshot
   * has it; true by default. Otherwise `ReadConflictError` is fine.
   */
  readonly keepsRevisions?: boolean;
  /** Whether an object that a pack removed may be stored anew; true by default. */
  readonly storesRemoved?: boolean;
  /** Whether it packs elsewhere, in its own steps, and reads the clock there; false by default. */
  readonly remote?: boolean;
}

/** One kind of storage to be tested. */
export interface Suite {
  /** All options, those that were left out too. */
  readonly options: Required<StorageTestOptions>;
  /** Registers one test, which gets a storage of its own. */
  test(
    what: string,
    run: (storage: Storage, trial: StorageTrial) => void | Promise<void>,
  ): void;
  /** Reads an old revision, which some storages cannot. */
  assertOld(session: Session, oid: Oid, text: string): void;
}

/** Makes a suite that registers its tests with `Deno.test`. */
export function suiteOf(
  name: string,
  makeStorage: () => StorageTrial | Promise<StorageTrial>,
  options: StorageTestOptions,
): Suite {
  const { keepsRevisions = true, storesRemoved = true, remote = false } =
    options;
  return {
    options: { keepsRevisions, storesRemoved, remote },
    test: (what, run) =>
      Deno.test(`${name}: ${what}`, async () => {
        const trial = await makeStorage();
        try {
          await run(trial.storage, trial);
        } finally {
          await trial.dispose();
        }
      }),
    assertOld(session, oid, text) {
      if (keepsRevisions) return assertEquals(textOf(session, oid), text);
      try {
        assertEquals(textOf(session, oid), text);
      } catch (error) {
        if (!(error instanceof ReadConflictError)) throw error;
        assertEquals(error.oids.includes(oid), true);
      }
    },
  };
}
