/**
 * A storage that lives as long as the process.
 *
 * @module
 */
import type { Oid, Records } from "../serialize/record.ts";
import {
  BackedStorage,
  type BackendPack,
  type StorageBackend,
} from "./backed_storage.ts";
import { newIdentity } from "./identity.ts";
import type { Snapshot } from "./snapshots.ts";
import type { Tid } from "./storage.ts";

interface Revision {
  readonly tid: Tid;
  readonly record: Uint8Array;
  previous: Revision | undefined;
  next: Revision | undefined;
}

/** A moment that open snapshots read. */
interface ReadMoment {
  readonly tid: Tid;
  /** How many of them there are. */
  snapshots: number;
  /** Old revisions that are read at this moment, but at no later one. */
  kept: Revision[];
  previous: ReadMoment | undefined;
  next: ReadMoment | undefined;
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
export class MemoryStorage extends BackedStorage {
  /** Tells this database from others. See {@linkcode Storage.identity}. */
  readonly identity: string = newIdentity();
  readonly #memory: Memory;

  /** Makes an empty storage. */
  constructor() {
    const memory = new Memory();
    super(memory);
    this.#memory = memory;
  }

  /** How many records are in memory, old revisions included. */
  get recordCount(): number {
    return this.#memory.recordCount;
  }
}

/** All objects, and those of their old states that are still read. */
class Memory implements StorageBackend {
  readonly name = "the storage";
  readonly next = 0;
  #newest = new Map<Oid, Revision>();
  #tid: Tid = 0;
  /** The latest moment that is read. */
  #latest: ReadMoment | undefined;
  /** How many revisions all moments keep. */
  #kept = 0;

  get tid(): Tid {
    return this.#tid;
  }

  get recordCount(): number {
    return this.#newest.size + this.#kept;
  }

  holds(oid: Oid): boolean {
    return this.#newest.has(oid);
  }

  pack(): BackendPack {
    const before = this.#newest;
    const after = new Map<Oid, Revision>();
    return {
      oids: () => before.keys(),
      copy: (oid) => {
        const revision = before.get(oid);
        if (revision !== undefined) after.set(oid, revision);
        return revision?.record;
      },
      finish: () => {
        // Snapshots that were taken before go on reading the map of before.
        this.#newest = after;
      },
    };
  }

  close(): void {
    this.#newest = new Map();
    this.#kept = 0;
  }

  snapshot(): Snapshot {
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

  #newestMoment(): ReadMoment {
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
  #forget({ kept, previous, next }: ReadMoment): void {
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

  append(records: Records, tid: Tid): void {
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
    }
    this.#tid = tid;
  }
}

function unlink(revision: Revision): void {
  const { previous, next } = revision;
  if (previous !== undefined) previous.next = next;
  if (next !== undefined) next.previous = previous;
}
