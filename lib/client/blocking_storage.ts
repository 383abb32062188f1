/**
 * Any storage that answers with promises, as one that answers at once: it
 * lives in a worker, and the program's thread waits for its answers.
 *
 * @module
 */
import { StorageClosedError, StorageError } from "../errors.ts";
import type { Oid, Records } from "../serialize/record.ts";
import { cutOff, tidOf } from "../storage/moment.ts";
import type { Notes } from "../storage/notes.ts";
import { packToEnd } from "../storage/pack.ts";
import { StorageSession, type View } from "../storage/session.ts";
import type {
  Changed,
  CommitResult,
  PackOptions,
  Progress,
  Session,
  SessionOptions,
  Storage,
  StorageFeatures,
  Tid,
} from "../storage/storage.ts";
import { NoAnswerError, StorageWorker } from "./storage_worker.ts";
import type { StorageRequest, What } from "./storage_program.ts";

/** Settings of {@linkcode BlockingStorage.open}. */
export interface BlockingStorageOptions {
  /** What the module's function is called with: anything that can be cloned (`structuredClone`). */
  readonly options?: unknown;
  /**
   * How long an answer of the storage may take, in milliseconds; 60,000 unless
   * given. Opening, which loads the module, may take at least five seconds, and
   * packing as long as it takes.
   */
  readonly timeout?: number;
}

/**
 * Makes an ordinary storage of an {@linkcode AsyncStorage}. A worker imports a
 * module and serves the storage that this makes; the program's thread stands
 * still until an answer is there.
 *
 * It must be closed: that closes the storage in the worker, and ends it. A
 * program that ends without does end, but its storage is not closed.
 *
 * @example
 * ```ts ignore
 * import { BlockingStorage, Connection } from "@dhara/dhara";
 *
 * using storage = await BlockingStorage.open(
 *   import.meta.resolve("./bucket.ts"),
 *   { options: { url: "https://bucket.example/" } },
 * );
 * using connection = new Connection(storage);
 * ```
 */
export class BlockingStorage implements Storage {
  /** What the storage in the worker can do; it tells no history. */
  readonly features: StorageFeatures;
  readonly #worker: StorageWorker;
  #closed = false;

  private constructor(
    module: string,
    { options, timeout = 60_000 }: BlockingStorageOptions,
  ) {
    if (!(typeof timeout === "number" && timeout >= 1)) {
      throw new StorageError(
        `Cannot open ${module}: timeout must be a number of milliseconds of 1 or more, not ${timeout}`,
      );
    }
    if (!URL.canParse(module)) {
      throw new StorageError(
        `Cannot open ${module}: give the URL of a module, such as import.meta.resolve("./bucket.ts")`,
      );
    }
    this.#worker = new StorageWorker(module, options, timeout);
    try {
      const { value } = this.#worker.ask<"features">({ what: "features" });
      this.features = {
        notes: value.notes === true,
        past: value.past === true,
        history: false,
        keep: value.keep === true,
        prepack: value.prepack === true,
      };
    } catch (error) {
      this.#worker.terminate();
      throw error;
    }
  }

  /**
   * Starts a worker with a storage.
   *
   * @param module The URL of a module whose default export is a function that
   * returns an `AsyncStorage`, or a promise of one.
   * @throws {StorageError} if the module cannot be loaded, or fails, or makes
   * no storage, or takes too long; an error of ours that it throws passes as
   * it is.
   */
  // It need not be asynchronous today, and the worker could be started so.
  // deno-lint-ignore require-await
  static async open(
    module: string | URL,
    options: BlockingStorageOptions = {},
  ): Promise<BlockingStorage> {
    return new BlockingStorage(String(module), options);
  }

  /**
   * Opens a session on the newest snapshot, or on one of the past.
   *
   * @throws {StorageError} if the storage cannot read that moment, or does not answer.
   */
  session({ at, letsGo = false }: SessionOptions = {}): Session {
    this.#checkOpen();
    const worker = this.#worker;
    if (at !== undefined && !this.features.past) {
      throw new StorageError(
        `Cannot go back in time: ${worker.name} keeps no history`,
      );
    }
    const options = at === undefined ? { letsGo } : { letsGo, at: tidOf(at) };
    const { value, tid } = worker.ask<"session">({ what: "session", options });
    return new StorageSession(
      new BlockingView(worker, value, {
        tid: tid!,
        isPast: at !== undefined,
        features: this.features,
        checkOpen: () => this.#checkOpen(),
      }),
    );
  }

  /**
   * Packs, which may take as long as it takes. See {@linkcode Storage.pack}.
   *
   * @throws {StorageError} if the storage cannot keep what it is told to.
   */
  pack(options?: PackOptions): Progress {
    return packToEnd(this.packInSteps(options));
  }

  /**
   * Packs in a single step. See {@linkcode Storage.packInSteps}.
   *
   * @throws {StorageError} if the storage cannot keep what it is told to.
   */
  packInSteps(
    { keep, prepack = false }: PackOptions = {},
  ): Generator<Progress, void> {
    this.#checkOpen();
    if (keep !== undefined) cutOff(keep);
    for (const name of ["keep", "prepack"] as const) {
      const asked = name === "keep" ? keep !== undefined : prepack;
      if (!asked || this.features[name]) continue;
      throw new StorageError(
        `Cannot keep anything when packing ${this.#worker.name}: it has no ${name}`,
      );
    }
    return this.#steps(
      keep === undefined
        ? { prepack }
        : { prepack, keep: keep instanceof Date ? tidOf(keep) : keep },
    );
  }

  *#steps(options: PackOptions): Generator<Progress, void> {
    this.#checkOpen();
    yield this.#worker.ask<"pack">({ what: "pack", options }).value;
  }

  /**
   * Closes the storage in the worker and ends it. Closing twice is fine.
   *
   * @throws {StorageError} if the storage cannot be closed; the worker has ended all the same.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#worker.close();
  }

  /** Closes the storage, as `close()` does. */
  [Symbol.dispose](): void {
    this.close();
  }

  #checkOpen(): void {
    if (!this.#closed) return;
    throw new StorageClosedError(
      `Cannot use ${this.#worker.name}: the storage was closed`,
    );
  }
}

/** What a view knows of its storage, and of the moment at which it begins. */
interface Beginning {
  readonly tid: Tid;
  readonly isPast: boolean;
  readonly features: StorageFeatures;
  readonly checkOpen: () => void;
}

/** What a session sees through a worker. */
class BlockingView implements View {
  readonly name: string;
  readonly isPast: boolean;
  /** If it is, the storage in the worker says so. */
  readonly readonly = false;
  readonly noNotes?: string;
  readonly checkOpen: () => void;
  readonly loadAt?: (oid: Oid, at: Tid) => Uint8Array;
  readonly #worker: StorageWorker;
  /** The session's number in the worker. */
  readonly #session: number;
  #tid: Tid;
  /** Why it is of no use any more. */
  #lost: StorageError | undefined;

  constructor(worker: StorageWorker, session: number, beginning: Beginning) {
    const { tid, isPast, features, checkOpen } = beginning;
    this.name = worker.name;
    this.#worker = worker;
    this.#session = session;
    this.#tid = tid;
    this.isPast = isPast;
    this.checkOpen = checkOpen;
    if (!features.notes) this.noNotes = "it keeps no notes";
    if (features.past) {
      this.loadAt = (oid, at) =>
        this.#ask<"load">({ what: "load", oid, at }).records[0]!;
    }
  }

  get tid(): Tid {
    return this.#tid;
  }

  allocate(count: number): Oid[] {
    return this.#ask<"allocate">({ what: "allocate", count }).value;
  }

  load(oid: Oid): Uint8Array {
    return this.#ask<"load">({ what: "load", oid }).records[0]!;
  }

  loadMany(oids: readonly Oid[]): Uint8Array[] {
    return this.#ask<"loadMany">({ what: "loadMany", oids }).records;
  }

  has(oid: Oid): boolean {
    return this.#ask<"has">({ what: "has", oid }).value;
  }

  length(oid: Oid): number {
    return this.#ask<"length">({ what: "length", oid }).value;
  }

  sync(): Changed {
    return this.#ask<"sync">({ what: "sync" }).value;
  }

  commit(
    records: Records,
    notes: Notes,
    accessed: (oid: Oid) => boolean,
  ): CommitResult {
    const oids = [...records.keys()];
    const bytes = [...records.values()];
    const sizes = bytes.map(({ length }) => length);
    return this.#ask<"commit">(
      { what: "commit", oids, sizes, notes },
      { records: bytes, accessed },
    ).value;
  }

  close(): void {
    try {
      this.checkOpen();
      this.#worker.ask<"end">({ what: "end" }, { session: this.#session });
    } catch {
      // It has ended with the storage or the worker, or will when it can.
    }
  }

  #ask<W extends What>(
    request: StorageRequest<W>,
    extras: Parameters<StorageWorker["ask"]>[1] = {},
  ) {
    if (this.#lost !== undefined) throw this.#lost;
    try {
      const session = this.#session;
      const answer = this.#worker.ask<W>(request, { ...extras, session });
      this.#tid = answer.tid!;
      return answer;
    } catch (error) {
      // What it was asked may go on, and it is asked for one thing at a time.
      if (error instanceof NoAnswerError) this.#lost = error;
      throw error;
    }
  }
}
