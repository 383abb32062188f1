/**
 * A storage that lives as long as the process.
 *
 * @module
 */
import { StorageError } from "../errors.ts";
import type { Oid } from "../serialize/record.ts";
import {
  type Backend,
  nextTid,
  type Records,
  Sessions,
  type Snapshot,
} from "./local_session.ts";
import { pack, packToEnd, type PackWork } from "./reachable.ts";
import type {
  PackOptions,
  PackProgress,
  Session,
  SessionOptions,
  Storage,
  Tid,
} from "./storage.ts";

interface Revision {
  readonly tid: Tid;
  readonly record: Uint8Array;
  /** When the next one took its place. */
  until: Tid;
  previous: Revision | undefined;
  next: Revision | undefined;
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
  #newest = new Map<Oid, Revision>();
  #tid: Tid = 0;
  /** How many open snapshots there are of each moment. */
  #snapshots = new Map<Tid, number>();
  /** Revisions that are not the newest ones, but which some session may need. */
  #kept: Revision[] = [];
  #lookAgainAt = 64;
  #packing: Set<Oid> | undefined;
  #sessions: Sessions;

  /** Makes an empty storage. */
  constructor() {
    const backend: Backend = {
      name: "the storage",
      readonly: false,
      snapshot: () => this.#snapshot(),
      holds: (oid) => this.#newest.has(oid),
      append: (records, _next, own) => this.#append(records, own),
    };
    this.#sessions = new Sessions(backend, 0);
  }

  /** How many records are in memory, old revisions included. */
  get recordCount(): number {
    return this.#newest.size + this.#kept.length;
  }

  /**
   * Opens a session on the newest snapshot.
   *
   * @throws {StorageError} if it is asked for another one: there is no history.
   */
  session(options?: SessionOptions): Session {
    return this.#sessions.open(options);
  }

  /**
   * Drops what cannot be reached from the root. See {@linkcode Storage.pack}.
   *
   * @throws {StorageError} if another pack is under way, or if it is told to
   * keep something: there is no history and no file.
   */
  pack(options?: PackOptions): PackProgress {
    return packToEnd(this.packInSteps(options));
  }

  /**
   * Does what `pack()` does, in steps. See {@linkcode Storage.packInSteps}.
   *
   * @throws {StorageError} as `pack()` does; at the first step if another pack
   * is under way.
   */
  packInSteps(options: PackOptions = {}): Generator<PackProgress, void> {
    this.#sessions.checkOpen();
    if (options.keep !== undefined || options.prepack) {
      throw new StorageError(
        "Cannot keep anything when packing the storage: it has neither a history nor a file",
      );
    }
    return this.#steps();
  }

  *#steps(): Generator<PackProgress, void> {
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
        this.#sessions.remove(removed);
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
    this.#kept = [];
  }

  /** Closes the storage, as `close()` does. */
  [Symbol.dispose](): void {
    this.close();
  }

  #snapshot(): Snapshot {
    const tid = this.#tid;
    const revisions = this.#newest;
    this.#snapshots.set(tid, (this.#snapshots.get(tid) ?? 0) + 1);
    return {
      tid,
      load(oid) {
        let revision = revisions.get(oid);
        while (revision !== undefined && revision.tid > tid) {
          revision = revision.previous;
        }
        return revision?.record;
      },
      release: () => this.#release(tid),
    };
  }

  #release(tid: Tid): void {
    const count = this.#snapshots.get(tid)! - 1;
    if (count > 0) {
      this.#snapshots.set(tid, count);
      return;
    }
    this.#snapshots.delete(tid);
    // Looking through all of them each time would be too slow when a session
    // stays behind while others go on.
    if (this.#snapshots.size <= 1 || this.#kept.length >= this.#lookAgainAt) {
      this.#dropUnneeded();
    }
  }

  #dropUnneeded(): void {
    if (this.#kept.length === 0) return;
    const tids = [...this.#snapshots.keys()];
    this.#kept = this.#kept.filter((revision) => {
      const { tid: from, until } = revision;
      const needed = tids.some((tid) => from <= tid && tid < until);
      if (!needed) unlink(revision);
      return needed;
    });
    this.#lookAgainAt = Math.max(64, 2 * this.#kept.length);
  }

  #append(records: Records, own: Snapshot): Tid {
    const tid = nextTid(this.#tid);
    // The latest moment that anybody goes on reading.
    let latest = -1;
    for (const [moment, count] of this.#snapshots) {
      if (moment > latest && (moment !== own.tid || count > 1)) latest = moment;
    }
    for (const [oid, record] of records) {
      const last = this.#newest.get(oid);
      const revision: Revision = {
        tid,
        record: record.slice(),
        until: Infinity,
        previous: last,
        next: undefined,
      };
      if (last !== undefined) {
        last.until = tid;
        last.next = revision;
        if (last.tid <= latest) this.#kept.push(last);
        else unlink(last);
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
