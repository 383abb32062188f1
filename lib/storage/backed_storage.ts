/**
 * A whole storage, made of a little that keeps records: sessions, packing, the
 * checks and the news are here.
 *
 * @module
 */
import { StorageError } from "../errors.ts";
import type { Oid } from "../serialize/record.ts";
import { nextTid } from "./moment.ts";
import { pack, packToEnd, type PackWork } from "./pack.ts";
import { Sessions, type Snapshot } from "./snapshots.ts";
import {
  type CommitNews,
  NO_FEATURES,
  type PackOptions,
  type Progress,
  type Session,
  type SessionOptions,
  type Storage,
  type StorageFeatures,
  type Tid,
} from "./storage.ts";

/**
 * What keeps the records of a {@linkcode BackedStorage}. What it is asked makes
 * sense: that was checked before.
 */
export interface StorageBackend {
  /** What to call it in messages, such as the name of its file. */
  readonly name: string;
  /** The newest transaction, 0 before the first one. */
  readonly tid: Tid;
  /** The `next` of the newest transaction, 0 before the first one. It is asked at the beginning. */
  readonly next: Oid;
  /** Whether there is an object of this number now. */
  holds(oid: Oid): boolean;
  /** Returns all that there is now, to be read as it is now until it is released. */
  snapshot(): Snapshot;
  /**
   * Stores records durably, all of them or none, as the transaction `tid`. The
   * bytes are the caller's: they change after it has returned.
   *
   * @param next The first number that no object has ever had, to be kept with them.
   */
  append(records: ReadonlyMap<Oid, Uint8Array>, tid: Tid, next: Oid): void;
  /** Begins to pack. Snapshots that were taken before are read as before. */
  pack(): BackendPack;
  /** Closes it. Called once, and nothing after it. */
  close(): void;
}

/** One pack. `append()` may be called between its calls. */
export interface BackendPack {
  /** Goes through all objects that there were when it began. */
  oids(): Iterable<Oid>;
  /**
   * Takes over an object as it is now, in place of an earlier state, and
   * returns its record; `undefined` if there is none.
   */
  copy(oid: Oid): Uint8Array | undefined;
  /** From now on there is what was copied, and nothing else. */
  finish(): void;
}

/**
 * A storage for which only a {@linkcode StorageBackend} has to be written. It
 * has no history, and belongs to one process. `docs/storages.md` leads through
 * writing one.
 *
 * @example
 * ```ts ignore
 * using storage = new BackedStorage(new Folder("bank"));
 * using connection = new Connection(storage);
 * ```
 */
export class BackedStorage implements Storage {
  /** What it can do. */
  readonly features: StorageFeatures = NO_FEATURES;
  readonly #backend: StorageBackend;
  readonly #sessions: Sessions;
  /** What was committed since a pack has begun. */
  #packing: Set<Oid> | undefined;
  #closed = false;

  /** Makes a storage of a backend, which is its own from now on. */
  constructor(backend: StorageBackend) {
    this.#backend = backend;
    this.#sessions = new Sessions({
      name: backend.name,
      readonly: false,
      tid: () => backend.tid,
      snapshot: () => backend.snapshot(),
      holds: (oid) => backend.holds(oid),
      append: (records, next) => {
        const tid = nextTid(backend.tid);
        backend.append(records, tid, next);
        for (const oid of records.keys()) this.#packing?.add(oid);
        return tid;
      },
    }, backend.next);
  }

  /**
   * Opens a session on the newest snapshot.
   *
   * @throws {StorageError} if it is asked for another one: there is no history.
   */
  session(options?: SessionOptions): Session {
    return this.#sessions.open(options);
  }

  /** Calls `listener` after each commit. See {@linkcode Storage.onCommit}. */
  onCommit(listener: (news: CommitNews) => void): () => void {
    this.#sessions.checkOpen();
    return this.#sessions.listeners.add(listener);
  }

  /**
   * Drops what cannot be reached from the root. See {@linkcode Storage.pack}.
   *
   * @throws {StorageError} if another pack is under way, or if it is told to
   * keep something: there is no history and no old file.
   */
  pack(options?: PackOptions): Progress {
    return packToEnd(this.packInSteps(options));
  }

  /**
   * Does what `pack()` does, in steps. See {@linkcode Storage.packInSteps}.
   *
   * @throws {StorageError} as `pack()` does; at the first step if another pack
   * is under way.
   */
  packInSteps(options: PackOptions = {}): Generator<Progress, void> {
    this.#sessions.checkOpen();
    if (options.keep !== undefined || options.prepack) {
      throw new StorageError(
        `Cannot keep anything when packing ${this.#backend.name}: it has neither a history nor an old file`,
      );
    }
    return this.#steps();
  }

  *#steps(): Generator<Progress, void> {
    this.#sessions.checkOpen();
    if (this.#packing !== undefined) {
      throw new StorageError(
        `Cannot pack ${this.#backend.name}: another pack is under way`,
      );
    }
    const target = this.#backend.pack();
    const changed = this.#packing = new Set();
    const work: PackWork = {
      changed,
      copy: (oid) => {
        this.#sessions.checkOpen();
        return target.copy(oid);
      },
      oids: () => target.oids(),
      prepare: () => [],
      finish: (removed) => {
        this.#sessions.checkOpen();
        target.finish();
        this.#sessions.packed(removed);
      },
    };
    try {
      yield* pack(work);
    } finally {
      this.#packing = undefined;
    }
  }

  /** Closes the storage and every session on it. Closing twice is fine. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#sessions.close();
    this.#backend.close();
  }

  /** Closes the storage, as `close()` does. */
  [Symbol.dispose](): void {
    this.close();
  }
}
