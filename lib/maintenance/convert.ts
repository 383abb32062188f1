/**
 * Copies a database from one storage to another.
 *
 * @module
 */
import { ObjectNotFoundError, StorageError } from "../errors.ts";
import { type Oid, ROOT_OID } from "../serialize/record.ts";
import { MOST_NUMBERS } from "../storage/limits.ts";
import type { Progress, Session, Storage } from "../storage/storage.ts";
import { type NumberedRecord, walk } from "./walk.ts";

/** Settings of {@linkcode convert}. */
export interface ConvertOptions {
  /** Called after each batch. */
  readonly onProgress?: (progress: Progress) => void;
}

/** A transaction ends after so many bytes or records. */
const BATCH_BYTES = 4 * 1024 * 1024;
const BATCH_RECORDS = 5000;
/** Allocating up to a number that is further away would take minutes. */
const LONGEST_GAP = 2 ** 33;

/**
 * Copies all objects that can be reached from the root, as of now, to another
 * storage, which must be empty. They keep their numbers. History is not copied.
 * The root comes last: until it is there the other storage counts as empty.
 *
 * @throws {StorageError} if the other storage is not empty, or one of them fails.
 *
 * @example
 * ```ts
 * import { Connection, convert, MemoryStorage } from "@dhara/dhara";
 * import { assertEquals } from "@std/assert";
 *
 * const from = new MemoryStorage();
 * using connection = new Connection(from);
 * connection.root["hello"] = "world";
 * connection.commit();
 *
 * const to = new MemoryStorage();
 * assertEquals(convert(from, to).records, 1);
 * using copy = new Connection(to);
 * assertEquals(copy.root["hello"], "world");
 * ```
 */
export function convert(
  from: Storage,
  to: Storage,
  options: ConvertOptions = {},
): Progress {
  using source = from.session();
  using writer = new BulkWriter(to);
  for (const entries of walk(source)) {
    for (const [oid, record] of entries) writer.add(oid, record);
    options.onProgress?.(writer.progress);
  }
  writer.finish();
  options.onProgress?.(writer.progress);
  return writer.progress;
}

/** Fills an empty storage with records, in large transactions. */
export class BulkWriter implements Disposable {
  readonly #session: Session;
  #root: Uint8Array | undefined;
  #waiting: NumberedRecord[] = [];
  #waitingBytes = 0;
  #records = 0;
  #bytes = 0;
  /** The first number that was not given out. */
  #next: Oid = 0;

  /** Begins; throws if the storage is not empty. */
  constructor(storage: Storage) {
    this.#session = storage.session();
    try {
      this.#session.load(ROOT_OID);
    } catch (error) {
      if (error instanceof ObjectNotFoundError) return;
      this.#session.close();
      throw error;
    }
    this.#session.close();
    throw new StorageError(
      "Cannot copy to the other storage: it is not empty",
    );
  }

  /** How much was added. */
  get progress(): Progress {
    return { records: this.#records, bytes: this.#bytes };
  }

  /** Adds a record, each object once. */
  add(oid: Oid, record: Uint8Array): void {
    this.#records++;
    this.#bytes += record.length;
    if (oid === ROOT_OID) {
      this.#root = record;
      return;
    }
    this.#waiting.push([oid, record]);
    this.#waitingBytes += record.length;
    if (
      this.#waitingBytes >= BATCH_BYTES ||
      this.#waiting.length >= BATCH_RECORDS
    ) this.#flush();
  }

  /** Writes what is left, and the root at last. */
  finish(): void {
    if (this.#root !== undefined) this.#waiting.push([ROOT_OID, this.#root]);
    if (this.#waiting.length > 0) this.#flush();
  }

  /** Ends the session. */
  [Symbol.dispose](): void {
    this.#session.close();
  }

  #flush(): void {
    const records = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    let highest = 0;
    for (const [oid] of records) if (oid > highest) highest = oid;
    this.#allocate(highest);
    if (!("tid" in this.#session.commit(records))) {
      throw new StorageError(
        "Cannot copy to the other storage: somebody else is writing to it",
      );
    }
  }

  /** Takes all numbers up to one: a storage refuses numbers far beyond those in use. */
  #allocate(oid: Oid): void {
    if (oid - this.#next > LONGEST_GAP) {
      throw new StorageError(
        `Cannot copy object #${oid}: its number is too far from the others`,
      );
    }
    while (this.#next <= oid) {
      // The first may be the root's, given out again.
      const count = Math.min(Math.max(oid - this.#next + 1, 2), MOST_NUMBERS);
      this.#next = this.#session.allocate(count).at(-1)! + 1;
    }
  }
}
