/**
 * A storage that lives as long as the process.
 *
 * @module
 */
import { StorageError } from "../errors.ts";
import type { Oid } from "../serialize/record.ts";
import type { Records } from "./check_records.ts";
import { newIdentity } from "./identity.ts";
import { nextTid } from "./moment.ts";
import { type Backend, Sessions, type Snapshot } from "./snapshots.ts";
import { pack, packToEnd, type PackWork } from "./pack.ts";
import type {
  CommitNews,
  PackOptions,
  Progress,
  Session,
  SessionOptions,
  Storage,
  StorageFeatures,
  Tid,
} from "./storage.ts";

interface Revision {
  readonly tid: Tid;
  readonly record: Uint8Array;
  previous: Revision | undefined;
  next: Revision | undefined;
}

/** A moment that open snapshots read. */
interface Moment {
  readonly tid: Tid;
  /** How many of them there are. */
  snapshots: number;
  /** Old revisions that are read at this moment, but at no later one. */
  kept: Revision[];
  previous: Moment | undefined;
  next: Moment | undefined;
}

/**
 * Keeps everything in memory, and nothing when the process ends: for tests,
 * and for data that need not stay. Old revisions are kept only as long as an
 * open session reads them.
 *
 * @example
 * ```ts
 * import { Connection, MemoryStorage } from "@dhara/dhara";
 * import { assertEquals } from "@std/assert";
 *
 * const storage = new MemoryStorage();
 * using connection = new Connection(storage);
 * connection.root["hello"] = "world";
 * connection.commit();
 * using another = new Connection(storage);
 * assertEquals(another.root["hello"], "world");
 * ```
 */
export class MemoryStorage implements Storage {
  /** Tells this database from others. See {@linkcode Storage.identity}. */
  readonly identity: string = newIdentity();
  /** What it can do. */
  readonly features: StorageFeatures = {
    notes: false,
    past: false,
    history: false,
    keep: false,
    prepack: false,
  };
  #newest = new Map<Oid, Revision>();
  #tid: Tid = 0;
  /** The latest moment that is read. */
  #latest: Moment | undefined;
  /** How many revisions all moments keep. */
  #kept = 0;
  #packing: Set<Oid> | undefined;
  #sessions: Sessions;

  /** Makes an empty storage. */
  constructor() {
    const backend: Backend = {
      name: "the storage",
      readonly: false,
      tid: () => this.#tid,
      snapshot: () => this.#snapshot(),
      holds: (oid) => this.#newest.has(oid),
      append: (records) => this.#append(records),
    };
    this.#sessions = new Sessions(backend, 0);
  }

  /** How many records are in memory, old revisions included. */
  get recordCount(): number {
    return this.#newest.size + this.#kept;
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
   * keep something: there is no history and no file.
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
        "Cannot keep anything when packing the storage: it has neither a history nor a file",
      );
    }
    return this.#steps();
  }

  *#steps(): Generator<Progress, void> {
    this.#sessions.checkOpen();
    if (this.#packing !== undefined) {
      throw new StorageError(
        "Cannot pack the storage: another pack is under way",
      );
    }
    const before = this.#newest;
    const after = new Map<Oid, Revision>();
    const changed = this.#packing = new Set();
    const work: PackWork = {
      changed,
      copy: (oid) => {
        this.#sessions.checkOpen();
        const revision = before.get(oid);
        if (revision !== undefined) after.set(oid, revision);
        return revision?.record;
      },
      oids: () => before.keys(),
      prepare: () => [],
      finish: (removed) => {
        this.#sessions.checkOpen();
        // Snapshots that were taken before go on reading the map of before.
        this.#newest = after;
        this.#sessions.packed(removed);
      },
    };
    try {
      yield* pack(work);
    } finally {
      this.#packing = undefined;
    }
  }

  /** Closes the storage and every session on it: everything is gone. Closing twice is fine. */
  close(): void {
    this.#sessions.close();
    this.#newest = new Map();
    this.#kept = 0;
  }

  /** Closes the storage, as `close()` does. */
  [Symbol.dispose](): void {
    this.close();
  }

  #snapshot(): Snapshot {
    const moment = this.#newestMoment();
    moment.snapshots++;
    const { tid } = moment;
    const revisions = this.#newest;
    const load = (oid: Oid) => {
      let revision = revisions.get(oid);
      while (revision !== undefined && revision.tid > tid) {
        revision = revision.previous;
      }
      return revision?.record;
    };
    return {
      tid,
      load,
      has: (oid) => load(oid) !== undefined,
      length: (oid) => load(oid)?.length ?? 0,
      release: () => {
        if (--moment.snapshots === 0) this.#forget(moment);
      },
    };
  }

  #newestMoment(): Moment {
    const previous = this.#latest;
    if (previous?.tid === this.#tid) return previous;
    const moment = this.#latest = {
      tid: this.#tid,
      snapshots: 0,
      kept: [],
      previous,
      next: undefined,
    };
    if (previous !== undefined) previous.next = moment;
    return moment;
  }

  /** Hands on what the moment keeps to the one before, if that reads it too. */
  #forget({ kept, previous, next }: Moment): void {
    if (previous !== undefined) previous.next = next;
    if (next !== undefined) next.previous = previous;
    else this.#latest = previous;
    for (const revision of kept) {
      if (previous !== undefined && revision.tid <= previous.tid) {
        previous.kept.push(revision);
      } else {
        unlink(revision);
        this.#kept--;
      }
    }
  }

  #append(records: Records): Tid {
    const tid = nextTid(this.#tid);
    const latest = this.#latest;
    for (const [oid, record] of records) {
      const last = this.#newest.get(oid);
      const revision: Revision = {
        tid,
        record: record.slice(),
        previous: last,
        next: undefined,
      };
      if (last !== undefined) {
        last.next = revision;
        if (latest !== undefined && last.tid <= latest.tid) {
          latest.kept.push(last);
          this.#kept++;
        } else {
          unlink(last);
        }
      }
      this.#newest.set(oid, revision);
      this.#packing?.add(oid);
    }
    this.#tid = tid;
    return tid;
  }
}

function unlink(revision: Revision): void {
  const { previous, next } = revision;
  if (previous !== undefined) previous.next = next;
  if (next !== undefined) next.previous = previous;
}
