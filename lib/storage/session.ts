/**
 * Sessions on a storage in the same process, and what they have in common for
 * all such storages: snapshots, what others change, numbers, checks.
 *
 * @module
 */
import {
  ObjectNotFoundError,
  ReadConflictError,
  ReadonlyError,
  StorageClosedError,
  StorageError,
} from "../errors.ts";
import {
  findReference,
  type Oid,
  recordOid,
  ROOT_OID,
} from "../serialize/record.ts";
import { ChangeLog, type Place } from "./change_log.ts";
import { MAX_RECORD_BYTES } from "../serialize/extensions.ts";
import { isEmpty, type Notes, notesOf } from "./notes.ts";
import { describeTid, now, tidOf } from "./moment.ts";
import { OidSet } from "./oid_set.ts";
import type {
  CommitResult,
  Session,
  SessionCommitOptions,
  SessionOptions,
  Tid,
} from "./storage.ts";

/** One moment of a storage, which it must be able to read until it is released. */
export interface Snapshot {
  /** The moment. */
  readonly tid: Tid;
  /** Returns a record as it was then, or `undefined` if there was none. */
  load(oid: Oid): Uint8Array | undefined;
  /** Whether there was one, without loading it where that costs more. */
  has(oid: Oid): boolean;
  /** How many bytes the record has, without reading it where that costs more; 0 if there is none. */
  length(oid: Oid): number;
  /** Says that nobody will read it any more. Called once. */
  release(): void;
}

/** The records of one transaction, checked, each object once. */
export type Records = ReadonlyMap<Oid, Uint8Array>;

/** What a storage must offer for sessions to work on it. */
export interface Backend {
  /** What to call it in messages: `bank.dhara`, `the storage`. */
  readonly name: string;
  /** Whether nothing can be stored. */
  readonly readonly: boolean;
  /** Returns the newest moment. */
  snapshot(): Snapshot;
  /**
   * Returns the newest transaction that is not after a moment. A storage that
   * keeps no history lacks it; it takes no notes either.
   */
  snapshotAt?(moment: Tid): Snapshot;
  /** Whether there is an object of this number now. */
  holds(oid: Oid): boolean;
  /**
   * Stores records durably, all or none, and returns their tid. `next` is the
   * first number that is free after them.
   */
  append(records: Records, next: Oid, notes: Notes): Tid;
}

/** How many numbers are given out at once at most: an answer must fit in memory. */
export const MOST_NUMBERS = 1_000_000;

/**
 * How far above the numbers in use a committed one may be. Each number that
 * stands alone costs a page of the index, so leaps must not be free.
 */
export const LONGEST_LEAP = 2 ** 24;

/** No number is larger. */
export const LARGEST_OID = Number.MAX_SAFE_INTEGER;

/**
 * Checks how many numbers somebody asks for.
 *
 * @throws {StorageError} if it is no number of numbers, or too many at once.
 */
export function checkCount(count: number): void {
  if (Number.isInteger(count) && count >= 0 && count <= MOST_NUMBERS) return;
  throw new StorageError(
    `Cannot allocate ${count} numbers: ask for 0 to ${MOST_NUMBERS}`,
  );
}

/**
 * Returns the tid of a transaction that follows another.
 *
 * @throws {StorageError} if there is none, or if the clock is wrong.
 */
export function nextTid(last: Tid): Tid {
  const tid = Math.max(now(), last + 1);
  if (Number.isSafeInteger(tid)) return tid;
  throw new StorageError(
    `Cannot number a transaction after ${last}: there are no more numbers; convert the database into a new one`,
  );
}

/** All the sessions that are open on one storage. */
export class Sessions {
  /** What was changed, and how far each session has come. */
  readonly log = new ChangeLog();
  readonly #backend: Backend;
  readonly #open = new Set<LocalSession>();
  #next: Oid;
  #rootIsFree: boolean;
  #closed = false;
  /** How many packs have removed something. */
  #removals = 0;
  /** What packs have removed that a program with an open session may still hold. */
  #removed = new OidSet();

  /** Begins with no session; `next` is the first number that was never given out. */
  constructor(backend: Backend, next: Oid) {
    this.#backend = backend;
    this.#next = next;
    // Somebody took the root's number and never stored a root. Clients that
    // cannot go on without it must get it.
    this.#rootIsFree = next > ROOT_OID && !backend.holds(ROOT_OID);
  }

  /** The first number that was never given out. */
  get next(): Oid {
    return this.#next;
  }

  /** How many packs have removed something so far. */
  get removals(): number {
    return this.#removals;
  }

  /** Opens one, on the newest snapshot or, read-only, on one of the past. */
  open({ at, letsGo = false }: SessionOptions = {}): LocalSession {
    this.checkOpen();
    const session = new LocalSession(
      this,
      this.#backend,
      letsGo,
      at === undefined ? undefined : this.#snapshotAt(tidOf(at)),
    );
    this.#open.add(session);
    return session;
  }

  #snapshotAt(moment: Tid): Snapshot {
    const backend = this.#backend;
    if (backend.snapshotAt === undefined) {
      throw new StorageError(
        `Cannot go back in time: ${backend.name} keeps no history`,
      );
    }
    return backend.snapshotAt(moment);
  }

  /** Throws a {@linkcode StorageClosedError} if the storage was closed. */
  checkOpen(): void {
    if (this.#closed) {
      throw new StorageClosedError(
        `Cannot use ${this.#backend.name}: the storage was closed`,
      );
    }
  }

  /** Closes every session, and opens no more. */
  close(): void {
    this.#closed = true;
    for (const session of [...this.#open]) session.close();
  }

  /** Forgets a session that was closed. */
  forget(session: LocalSession): void {
    this.#open.delete(session);
  }

  /** See {@linkcode Session.allocate}. */
  allocate(count: number): Oid[] {
    checkCount(count);
    if (count > LARGEST_OID - this.#next) {
      throw new StorageError(
        `Cannot allocate ${count} numbers: there are no more`,
      );
    }
    const oids: Oid[] = [];
    if (count > 0 && this.#rootIsFree) {
      oids.push(ROOT_OID);
      this.#rootIsFree = false;
    }
    while (oids.length < count) oids.push(this.#next++);
    return oids;
  }

  /** Stores what a session commits, and tells all others. */
  commit(session: LocalSession, records: Records, notes: Notes): Tid {
    let next = this.#next;
    for (const oid of records.keys()) {
      if (oid >= next) next = oid + 1;
    }
    if (next - this.#next > LONGEST_LEAP) {
      throw new StorageError(
        `Cannot commit object #${
          next - 1
        }: numbers from ${this.#next} on are free; allocate them first`,
      );
    }
    if (session.began < this.#removals) this.#checkReferences(records);
    const tid = this.#backend.append(records, next, notes);
    this.#next = next;
    if (records.has(ROOT_OID)) this.#rootIsFree = false;
    this.log.add(records.keys());
    return tid;
  }

  /**
   * Notes that a pack has ended and has removed objects. Open sessions may
   * still know them, so to them the objects were changed.
   */
  packed(removed: readonly Oid[]): void {
    const open = [...this.#open];
    if (removed.length > 0) {
      if (!open.some(({ began }) => began < this.#removals)) {
        this.#removed = new OidSet();
      }
      this.#removals++;
      for (const oid of removed) this.#removed.add(oid);
      this.log.add(removed);
    }
    for (const session of open) session.letGo();
  }

  // A program may hold on to a removed object, for as long as it lives, and put
  // it into another one without ever reading it: no invalidation can stop that.
  #checkReferences(records: Records): void {
    const isGone = (reference: Oid) =>
      this.#removed.has(reference) && !records.has(reference) &&
      !this.#backend.holds(reference);
    for (const [oid, record] of records) {
      const gone = findReference(record, isGone);
      if (gone === undefined) continue;
      throw new StorageError(
        `Cannot commit object #${oid}: it refers to object #${gone}, which nothing referred to and a pack has removed; abort and make that object anew`,
      );
    }
  }
}

/** A session on a storage in the same process. */
export class LocalSession implements Session {
  /** How many packs had removed something when it was opened. */
  readonly began: number;
  readonly #sessions: Sessions;
  readonly #backend: Backend;
  readonly #letsGo: boolean;
  /** Where it is in the log of changes; nowhere if it stays in the past. */
  readonly #place: Place | undefined;
  #tid: Tid;
  #snapshot: Snapshot;
  /**
   * Whether the storage has let go of the snapshot `#tid`. `#snapshot` is a later
   * one then, of which only what was not changed since may be read.
   */
  #late = false;
  /** What was changed since, if that was asked. */
  #changed: OidSet | undefined;
  #closed = false;

  /** Opens a session, which stays at `past` if that is given; see `Sessions.open()`. */
  constructor(
    sessions: Sessions,
    backend: Backend,
    letsGo: boolean,
    past?: Snapshot,
  ) {
    this.#sessions = sessions;
    this.#backend = backend;
    this.#letsGo = letsGo && past === undefined;
    this.#snapshot = past ?? backend.snapshot();
    this.#tid = this.#snapshot.tid;
    this.#place = past === undefined ? sessions.log.open() : undefined;
    // What stays in the past commits nothing.
    this.began = past === undefined ? sessions.removals : Infinity;
  }

  /** The snapshot that the session reads. */
  get tid(): Tid {
    return this.#tid;
  }

  /** See {@linkcode Session.allocate}. */
  allocate(count: number): Oid[] {
    this.#checkOpen();
    if (this.#place === undefined) throw this.#refusal("make new objects in");
    return this.#sessions.allocate(count);
  }

  /** See {@linkcode Session.load}. */
  load(oid: Oid): Uint8Array {
    if (this.#closed) this.#checkOpen();
    if (this.#late) this.#checkUnchanged(oid);
    const record = Number.isSafeInteger(oid) && oid >= 0
      ? this.#snapshot.load(oid)
      : undefined;
    if (record === undefined) throw new ObjectNotFoundError(oid);
    return record;
  }

  /** See {@linkcode Session.loadMany}. */
  loadMany(oids: readonly Oid[]): Uint8Array[] {
    this.#checkOpen();
    return oids.map((oid) => this.load(oid));
  }

  /** See {@linkcode Session.has}. */
  has(oid: Oid): boolean {
    this.#checkOpen();
    if (this.#late) this.#checkUnchanged(oid);
    return Number.isSafeInteger(oid) && oid >= 0 && this.#snapshot.has(oid);
  }

  /** See {@linkcode Session.length}. */
  length(oid: Oid): number {
    this.#checkOpen();
    return Number.isSafeInteger(oid) && oid >= 0
      ? this.#snapshot.length(oid)
      : 0;
  }

  /** See {@linkcode Session.sync}. */
  sync(): Oid[] {
    this.#checkOpen();
    if (this.#place === undefined) return [];
    const changed = this.#sessions.log.since(this.#place);
    this.#move(this.#place);
    return changed;
  }

  /** See {@linkcode Session.commit}. */
  commit(
    records: Iterable<readonly [Oid, Uint8Array]>,
    options: SessionCommitOptions = {},
  ): CommitResult {
    this.#checkOpen();
    const notes = notesOf(options);
    if (!isEmpty(notes) && this.#backend.snapshotAt === undefined) {
      throw new StorageError(
        `Cannot commit with a note or a user: ${this.#backend.name} keeps no history`,
      );
    }
    const checked = checkRecords(records);
    // Taking the records may have run code of the caller.
    this.#checkOpen();
    if (checked.size === 0) return { tid: this.tid, changed: [] };
    if (this.#place === undefined) throw this.#refusal("commit to");
    if (this.#backend.readonly) {
      throw new ReadonlyError(
        `Cannot commit to ${this.#backend.name}: it was opened for reading only`,
      );
    }
    const changed = this.#sessions.log.since(this.#place);
    if (changed.some(options.accessed ?? (() => true))) {
      return { invalid: changed };
    }
    const tid = this.#sessions.commit(this, checked, notes);
    this.#move(this.#place);
    return { tid, changed };
  }

  /** Lets go of the snapshot, which a pack has dropped, if that is allowed. */
  letGo(): void {
    if (!this.#letsGo) return;
    this.#late = !this.#sessions.log.isAtEnd(this.#place!);
    this.#changed = undefined;
    this.#replaceSnapshot();
  }

  /** See {@linkcode Session.close}. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#sessions.forget(this);
    if (this.#place !== undefined) this.#sessions.log.close(this.#place);
    this.#snapshot.release();
  }

  /** Ends the session, as `close()` does. */
  [Symbol.dispose](): void {
    this.close();
  }

  #refusal(what: string): ReadonlyError {
    return new ReadonlyError(
      `Cannot ${what} ${this.#backend.name} as of ${
        describeTid(this.tid)
      }: the past cannot be changed`,
    );
  }

  /** Moves on to what there is now. */
  #move(place: Place): void {
    this.#replaceSnapshot();
    this.#tid = this.#snapshot.tid;
    this.#late = false;
    this.#changed = undefined;
    this.#sessions.log.catchUp(place);
  }

  #replaceSnapshot(): void {
    const last = this.#snapshot;
    this.#snapshot = this.#backend.snapshot();
    last.release();
  }

  #checkUnchanged(oid: Oid): void {
    this.#changed ??= this.#sessions.log.setSince(this.#place!);
    if (!this.#changed.has(oid)) return;
    throw new ReadConflictError(
      `Cannot load object #${oid}: it was changed after this transaction began, and a pack of ${this.#backend.name} has dropped what it was then; call abort() and start over`,
      { oids: [oid] },
    );
  }

  #checkOpen(): void {
    this.#sessions.checkOpen();
    if (this.#closed) {
      throw new StorageClosedError(
        `Cannot use the session on ${this.#backend.name}: it was closed`,
      );
    }
  }
}

/** Checks what is to be committed, and returns it as a map. */
export function checkRecords(
  records: Iterable<readonly [Oid, Uint8Array]>,
): Map<Oid, Uint8Array> {
  const checked = new Map<Oid, Uint8Array>();
  for (const [oid, record] of records) {
    if (!Number.isSafeInteger(oid) || oid < 0 || oid === LARGEST_OID) {
      throw new StorageError(
        `Cannot commit object #${oid}: an object's number is an integer from 0 to 2^53 - 2`,
      );
    }
    const inside = ownOid(oid, record);
    if (inside !== oid) {
      throw new StorageError(
        `Cannot commit object #${oid}: its record is of object #${inside}`,
      );
    }
    if (record.length > MAX_RECORD_BYTES) {
      throw new StorageError(
        `Cannot commit object #${oid}: its record has ${record.length} bytes, and ${MAX_RECORD_BYTES} are the most`,
      );
    }
    if (checked.has(oid)) {
      throw new StorageError(
        `Cannot commit object #${oid}: there are two records of it`,
      );
    }
    checked.set(oid, record);
  }
  return checked;
}

// Packing must be able to follow the references of whatever was stored.
function ownOid(oid: Oid, record: Uint8Array): Oid {
  try {
    findReference(record, () => false);
    return recordOid(record);
  } catch (error) {
    throw new StorageError(
      `Cannot commit object #${oid}: its record is not well-formed`,
      { cause: error },
    );
  }
}
