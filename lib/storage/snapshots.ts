/**
 * Sessions on a storage in the same process that can show any moment as a
 * snapshot: what others change, which numbers are free, what packs remove.
 *
 * @module
 */
import {
  ReadConflictError,
  StorageClosedError,
  StorageError,
} from "../errors.ts";
import { type Oid, type Records, ROOT_OID } from "../serialize/record.ts";
import { ChangeLog, type Place } from "./change_log.ts";
import { CommitListeners } from "./commit_listeners.ts";
import { checkReferences } from "./check_records.ts";
import { LARGEST_OID, nextAfter } from "./limits.ts";
import { tidOf } from "./moment.ts";
import type { Notes } from "./notes.ts";
import { OidSet } from "./oid_set.ts";
import { StorageSession, type View } from "./session.ts";
import type { CommitResult, SessionOptions, Tid } from "./storage.ts";

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

/** What a storage must offer for sessions to work on it. */
export interface Backend {
  /** What to call it in messages: `bank.dhara`, `the storage`. */
  readonly name: string;
  /** Whether nothing can be stored. */
  readonly readonly: boolean;
  /** The newest transaction. */
  tid(): Tid;
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

/** All the sessions that are open on one storage. */
export class Sessions {
  /** What was changed, and how far each session has come. */
  readonly log = new ChangeLog();
  readonly #backend: Backend;
  readonly #open = new Set<SnapshotView>();
  #next: Oid;
  #rootIsFree: boolean;
  #closed = false;
  /** Who is told of commits. */
  readonly listeners: CommitListeners = new CommitListeners();
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
  open({ at, letsGo = false }: SessionOptions = {}): StorageSession {
    this.checkOpen();
    const view = new SnapshotView(
      this,
      this.#backend,
      letsGo,
      at === undefined ? undefined : this.snapshotAt(tidOf(at)),
    );
    this.#open.add(view);
    return new StorageSession(view);
  }

  /** Returns a moment of the past. */
  snapshotAt(moment: Tid): Snapshot {
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
    this.listeners.clear();
    for (const view of [...this.#open]) view.close();
  }

  /** Forgets the view of a session that was closed. */
  forget(view: SnapshotView): void {
    this.#open.delete(view);
  }

  /** See {@linkcode Session.allocate}. */
  allocate(count: number): Oid[] {
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
  commit(view: SnapshotView, records: Records, notes: Notes): Tid {
    const next = nextAfter(records.keys(), this.#next);
    if (view.began < this.#removals) {
      checkReferences(
        records,
        (oid) => this.#removed.has(oid) && !this.#backend.holds(oid),
      );
    }
    const tid = this.#backend.append(records, next, notes);
    this.#next = next;
    if (records.has(ROOT_OID)) this.#rootIsFree = false;
    this.log.add(records.keys());
    this.listeners.tell(() => ({ tid, oids: [...records.keys()], ...notes }));
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
    for (const view of open) view.letGo();
  }
}

/** What one session sees of a storage. */
class SnapshotView implements View {
  readonly name: string;
  readonly readonly: boolean;
  readonly isPast: boolean;
  readonly noNotes?: string;
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

  constructor(
    sessions: Sessions,
    backend: Backend,
    letsGo: boolean,
    past?: Snapshot,
  ) {
    this.name = backend.name;
    this.readonly = backend.readonly;
    this.isPast = past !== undefined;
    if (backend.snapshotAt === undefined) this.noNotes = "it keeps no history";
    this.#sessions = sessions;
    this.#backend = backend;
    this.#letsGo = letsGo && !this.isPast;
    this.#snapshot = past ?? backend.snapshot();
    this.#tid = this.#snapshot.tid;
    this.#place = this.isPast ? undefined : sessions.log.open();
    // What stays in the past commits nothing.
    this.began = this.isPast ? Infinity : sessions.removals;
  }

  get tid(): Tid {
    return this.#tid;
  }

  checkOpen(): void {
    this.#sessions.checkOpen();
  }

  allocate(count: number): Oid[] {
    return this.#sessions.allocate(count);
  }

  load(oid: Oid): Uint8Array | undefined {
    if (this.#late) this.#checkUnchanged(oid);
    return this.#snapshot.load(oid);
  }

  loadAt(oid: Oid, at: Tid): Uint8Array | undefined {
    const past = this.#sessions.snapshotAt(at);
    try {
      return past.load(oid);
    } finally {
      past.release();
    }
  }

  has(oid: Oid): boolean {
    if (this.#late) this.#checkUnchanged(oid);
    return this.#snapshot.has(oid);
  }

  length(oid: Oid): number {
    return this.#snapshot.length(oid);
  }

  sync(): Oid[] {
    const changed = this.#sessions.log.since(this.#place!);
    this.#move();
    return changed;
  }

  commit(
    records: Records,
    notes: Notes,
    accessed: (oid: Oid) => boolean,
  ): CommitResult {
    const changed = this.#sessions.log.since(this.#place!);
    if (changed.some(accessed)) {
      return { invalid: changed, newest: this.#backend.tid() };
    }
    const tid = this.#sessions.commit(this, records, notes);
    this.#move();
    return { tid, changed };
  }

  /** Lets go of the snapshot, which a pack has dropped, if that is allowed. */
  letGo(): void {
    if (!this.#letsGo) return;
    this.#late = !this.#sessions.log.isAtEnd(this.#place!);
    this.#changed = undefined;
    this.#replaceSnapshot();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#sessions.forget(this);
    if (this.#place !== undefined) this.#sessions.log.close(this.#place);
    this.#snapshot.release();
  }

  /** Moves on to what there is now. */
  #move(): void {
    this.#replaceSnapshot();
    this.#tid = this.#snapshot.tid;
    this.#late = false;
    this.#changed = undefined;
    this.#sessions.log.catchUp(this.#place!);
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
      `Cannot load object #${oid}: it was changed after this transaction began, and a pack of ${this.name} has dropped what it was then; call abort() and start over`,
      { oids: [oid] },
    );
  }
}
